// What signals do to a command: none of them is ever its cause of death.
#pragma once

#include <termios.h>

#include <csignal>

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace nibble::tools {

/// The exit status of a command that a signal ended, after the custom of shells: 130 for SIGINT.
inline int interrupted_status(int signal) { return 128 + signal; }

/// Ends the process quietly with a status on SIGINT, SIGQUIT, SIGTERM and SIGHUP, and with
/// status 0 on SIGPIPE: who read the output has seen enough; SIGXFSZ is ignored. For commands
/// without anything to clean up.
void end_on_signals();

/// Whether the process went on after a stop (Ctrl-Z) since this was last asked: what was timed
/// meanwhile is no speed. The first answer is no.
bool was_resumed();

/// Ignores SIGPIPE. For a command whose answer is a file: that nobody reads what it says beside is
/// no reason to end before the file is there.
void outlive_readers();

/// While it lives, SIGINT, SIGQUIT, SIGTERM and SIGHUP stop what an Interruptible guards; the
/// second one, or one that meets nothing to stop, ends the process and leaves the terminal in the
/// mode it had. Construct it before other threads start: they inherit that the signals are blocked,
/// and a thread of its own waits for them.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  friend class Interruptible;
  void watch();
  void handle(int signal);
  void restore_terminal() const;

  std::mutex mutex_;
  std::function<void()> stop_;  // what to call, or empty
  int signal_ = 0;              // that called it
  sigset_t signals_{};
  sigset_t saved_{};
  std::optional<termios> terminal_;  // the mode of standard input, if that is one
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

/// A scope whose work ends soon after `stop` is called (on another thread). One at a time.
class Interruptible {
 public:
  Interruptible(Interrupts& interrupts, std::function<void()> stop);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  int signal() const;  // that came in this scope; 0: none

 private:
  Interrupts& interrupts_;
};

}  // namespace nibble::tools
