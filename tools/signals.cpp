#include "signals.h"

#include <unistd.h>

#include <string_view>
#include <utility>

namespace nibble::tools {
namespace {

extern "C" void end_process(int signal) {
  _exit(signal == SIGPIPE ? 0 : interrupted_status(signal));
}

volatile std::sig_atomic_t resumed = 0;
extern "C" void note_resumed(int) { resumed = 1; }

/// What the parent chose for us (nohup, a job in the background).
bool is_ignored(int signal) {
  struct sigaction action = {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

constexpr int kEnding[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
constexpr int kWake = SIGUSR1;  // ends the thread that waits

}  // namespace

void end_on_signals() {
  struct sigaction action = {};
  action.sa_handler = end_process;
  for (const int signal : kEnding)
    if (!is_ignored(signal)) sigaction(signal, &action, nullptr);
  sigaction(SIGPIPE, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // beyond `ulimit -f` writing fails, as on a full disk
}

bool was_resumed() {
  struct sigaction action = {};
  action.sa_handler = note_resumed;
  action.sa_flags = SA_RESTART;
  sigaction(SIGCONT, &action, nullptr);
  const bool was = resumed != 0;
  resumed = 0;
  return was;
}

void outlive_readers() { std::signal(SIGPIPE, SIG_IGN); }

Interrupts::Interrupts() {
  termios mode = {};
  if (tcgetattr(STDIN_FILENO, &mode) == 0) terminal_ = mode;
  sigemptyset(&signals_);
  for (const int signal : kEnding)
    if (!is_ignored(signal)) sigaddset(&signals_, signal);
  sigaddset(&signals_, kWake);
  pthread_sigmask(SIG_BLOCK, &signals_, &saved_);
  thread_ = std::thread(&Interrupts::watch, this);
}

Interrupts::~Interrupts() {
  done_ = true;
  pthread_kill(thread_.native_handle(), kWake);
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &saved_, nullptr);
}

void Interrupts::watch() {
  int signal = 0;
  while (sigwait(&signals_, &signal) == 0 && !done_)
    if (signal != kWake) handle(signal);
}

void Interrupts::handle(int signal) {
  const std::lock_guard lock(mutex_);
  if (!stop_ || signal_ != 0) {
    restore_terminal();
    end_process(signal);
  }
  signal_ = signal;
  stop_();
}

/// A prompt may be read, whose keys come one by one.
void Interrupts::restore_terminal() const {
  // In the background the terminal is another's.
  if (!terminal_ || tcgetpgrp(STDIN_FILENO) != getpgrp()) return;
  termios mode = {};
  if (tcgetattr(STDIN_FILENO, &mode) != 0 || mode.c_lflag == terminal_->c_lflag) return;
  tcsetattr(STDIN_FILENO, TCSANOW, &*terminal_);
  constexpr std::string_view kPlainPaste = "\x1b[?2004l";
  [[maybe_unused]] const ssize_t n = write(STDIN_FILENO, kPlainPaste.data(), kPlainPaste.size());
}

Interruptible::Interruptible(Interrupts& interrupts, std::function<void()> stop)
    : interrupts_(interrupts) {
  const std::lock_guard lock(interrupts_.mutex_);
  interrupts_.signal_ = 0;
  interrupts_.stop_ = std::move(stop);
}

Interruptible::~Interruptible() {
  const std::lock_guard lock(interrupts_.mutex_);
  interrupts_.stop_ = nullptr;
}

int Interruptible::signal() const {
  const std::lock_guard lock(interrupts_.mutex_);
  return interrupts_.signal_;
}

}  // namespace nibble::tools
