// Runs a program on a pseudo-terminal, as a person would.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "check.h"

namespace nibble::test {

class Terminal {
 public:
  /// `state`: a folder for what the program keeps ($XDG_STATE_HOME).
  Terminal(const std::string& program, const std::vector<std::string>& args,
           const std::string& state) {
    master_ = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0)
      skip("needs a pseudo-terminal");
    const std::string name = ::ptsname(master_);
    // Held open here, too, so that its mode can be read after the program's end.
    slave_ = ::open(name.c_str(), O_RDWR | O_NOCTTY);
    if (slave_ < 0) skip("needs a pseudo-terminal");
    tcgetattr(slave_, &before_);
    child_ = ::fork();
    if (child_ == 0) run_child(name, program, args, state);
  }
  ~Terminal() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(master_);
    ::close(slave_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void send(const std::string& keys) {
    if (::write(master_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size()))
      fail("cannot write to the terminal");
  }

  /// Reads until `text` appears; what came before it.
  std::string expect(const std::string& text, const char* file = __builtin_FILE(),
                     int line = __builtin_LINE()) {
    size_t at = 0;
    while ((at = screen_.find(text)) == std::string::npos) {
      const bool over = ended();
      const size_t n_before = screen_.size();
      if (!read_some() || (over && screen_.size() == n_before))
        fail("\"" + text + "\" did not come; the last was: " + screen_, file, line);
    }
    std::string before = screen_.substr(0, at);
    screen_.erase(0, at + text.size());
    return before;
  }

  void resize(unsigned short columns, unsigned short rows) {
    const winsize size = {rows, columns, 0, 0};
    if (::ioctl(master_, TIOCSWINSZ, &size) != 0) fail("cannot resize the terminal");
  }

  void signal(int number) { ::kill(child_, number); }

  /// Waits for the end; the exit status. Fails if a signal ended it or the terminal was left in
  /// another mode than it had.
  int finish(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(child_, &status, WNOHANG)) == 0)
      if (!read_some()) fail("it does not end; the last was: " + screen_, file, line);
    child_ = -1;
    if (!WIFEXITED(status)) fail("a signal ended it", file, line);
    termios after = {};
    tcgetattr(slave_, &after);
    check(after.c_lflag == before_.c_lflag && after.c_iflag == before_.c_iflag,
          "the terminal's mode is not restored", file, line);
    return WEXITSTATUS(status);
  }

 private:
  [[noreturn]] static void run_child(const std::string& name, const std::string& program,
                                     const std::vector<std::string>& args,
                                     const std::string& state) {
    ::setsid();
    const int terminal = ::open(name.c_str(), O_RDWR);  // becomes the controlling one
    for (const int fd : {0, 1, 2}) ::dup2(terminal, fd);
    ::setenv("TERM", "xterm", 1);
    ::setenv("XDG_STATE_HOME", state.c_str(), 1);
    std::vector<char*> argv = {const_cast<char*>(program.c_str())};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }

  /// False if nothing comes for very long.
  bool read_some() {
    constexpr int kPatienceMs = 1000, kTries = 60;
    for (int i = 0; i < kTries; ++i) {
      pollfd fds = {master_, POLLIN, 0};
      const int ready = ::poll(&fds, 1, kPatienceMs);
      char buffer[4096];
      const ssize_t n = ready > 0 ? ::read(master_, buffer, sizeof buffer) : 0;
      if (n > 0) screen_.append(buffer, static_cast<size_t>(n));
      if (n > 0 || ended()) return true;
    }
    return false;
  }

  /// Whether the program has ended, leaving its status to be waited for.
  bool ended() const {
    siginfo_t info = {};
    return ::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child_;
  }

  int master_ = -1, slave_ = -1;
  pid_t child_ = -1;
  termios before_ = {};
  std::string screen_;  // what came and was not expected yet
};

}  // namespace nibble::test
