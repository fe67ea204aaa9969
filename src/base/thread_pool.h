#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace nibble {

inline constexpr int kMaxThreads = 1024;  // that a user may ask for

/// A fixed set of threads that run one loop at a time. The caller is thread 0 and works too.
class ThreadPool {
 public:
  /// n_threads >= 1, the caller included.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  /// Calls fn(chunk, thread) once for every chunk in 0..n_chunks-1, on `n_threads` threads at most
  /// (0: all), and returns when all are done. Each thread walks up a share of neighbouring chunks
  /// of its own, so that what it fetches ahead is what it needs; one that is through with it takes
  /// the last chunks of others' shares, so that slow cores compute fewer. If fn throws, no further
  /// chunk is begun, and run() passes on what came first. One caller at a time.
  template <class Fn>
  void run(size_t n_chunks, Fn&& fn, int n_threads = 0) {
    using F = std::remove_reference_t<Fn>;
    run_erased(
        n_chunks, n_threads,
        [](void* f, size_t chunk, int thread) { (*static_cast<F*>(f))(chunk, thread); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

  /// Asked before every chunk, from any thread. Once it is true run() calls fn no more and throws
  /// Error: what a loop should have computed is not there. What it throws itself, run() passes on.
  void cancel_when(std::function<bool()> cancelled) { cancelled_ = std::move(cancelled); }

 private:
  using Call = void (*)(void* fn, size_t chunk, int thread);
  void run_erased(size_t n_chunks, int n_threads, Call call, void* fn);
  void run_all(size_t n_chunks, int n_threads, Call call, void* fn);
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::function<bool()> cancelled_;
};

/// Threads to use by default: the cores this process may run on (affinity, cgroup quota), one per
/// physical core, slow cores left out where the system tells them apart. At least 1.
int default_thread_count();

}  // namespace nibble
