#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#if defined(NIBBLE_OPENMP)
#include <omp.h>
#else
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cpu_topology.h"
#endif

#include "nibble/error.h"

namespace nibble {

#if defined(NIBBLE_OPENMP)

struct ThreadPool::Impl {
  int n_threads;
};

ThreadPool::ThreadPool(int n_threads) : impl_(new Impl{std::max(n_threads, 1)}) {}
ThreadPool::~ThreadPool() = default;
int ThreadPool::size() const { return impl_->n_threads; }

void ThreadPool::run_all(size_t n_chunks, int n_threads, Call call, void* fn) {
  const int team = n_threads > 0 ? std::min(n_threads, size()) : size();
  const auto n = static_cast<int64_t>(n_chunks);
#pragma omp parallel for schedule(monotonic : dynamic, 1) num_threads(team) if (n > 1 && team > 1)
  for (int64_t chunk = 0; chunk < n; ++chunk)
    call(fn, static_cast<size_t>(chunk), omp_get_thread_num());
}

#else

namespace {

constexpr size_t kCacheLine = 64;
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr auto kSpinOversubscribed = std::chrono::microseconds(1);

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` is over in a cycle on most cores
#endif
}

/// Waits for `ready` without giving up the core; false once `limit` has passed.
template <class Ready>
bool spin_until(const Ready& ready, std::chrono::nanoseconds limit) {
  const auto begin = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() - begin < limit);
  return false;
}

// The chunks begin..end-1 that are left of a thread's share, and how many threads the loop may use:
// one word, so that a thread that comes late can tell with one compare-and-swap whether a chunk is
// left for it.
constexpr uint64_t kThreadBits = 16, kChunkBits = 24;
constexpr uint64_t kThreadMask = (uint64_t{1} << kThreadBits) - 1;
constexpr uint64_t kMaxChunks = (uint64_t{1} << kChunkBits) - 1;
constexpr uint64_t share(uint64_t begin, uint64_t end, uint64_t n_threads) {
  return (begin << kChunkBits | end) << kThreadBits | n_threads;
}
constexpr uint64_t begin_of(uint64_t share) { return share >> (kChunkBits + kThreadBits); }
constexpr uint64_t end_of(uint64_t share) { return share >> kThreadBits & kMaxChunks; }
constexpr uint64_t threads_of(uint64_t word) { return word & kThreadMask; }

}  // namespace

struct ThreadPool::Impl {
  struct Worker {
    alignas(kCacheLine) std::atomic<uint64_t> share = 0;
    alignas(kCacheLine) std::atomic<int> parked = 0;  // 1 while the thread sleeps
    std::thread thread;
  };

  alignas(kCacheLine) std::atomic<uint64_t> loop = 0;    // its number, then the threads it may use
  alignas(kCacheLine) std::atomic<uint64_t> n_done = 0;  // chunks
  // Written before any share is and read only by a thread that holds a chunk: the loop cannot end,
  // so the next one cannot begin, before that chunk is counted in n_done.
  alignas(kCacheLine) Call call = nullptr;
  void* fn = nullptr;
  size_t first_chunk = 0;
  std::atomic<bool> stop = false;
  std::vector<Worker> workers;  // thread 0 is the caller's
  std::chrono::nanoseconds spin;

  explicit Impl(int n_threads);
  ~Impl() { shut_down(); }
  bool claim(uint64_t thread, uint64_t& chunk);
  void work(uint64_t thread);
  void worker_main(uint64_t thread);
  void run(size_t first, size_t n, size_t n_threads);
  static void wake(Worker& worker);
  void shut_down();
};

ThreadPool::Impl::Impl(int n_threads)
    : workers(static_cast<size_t>(n_threads)),
      spin(n_threads <= allowed_cpu_count() ? kSpin : kSpinOversubscribed) {
  try {
    for (size_t i = 1; i < workers.size(); ++i)
      workers[i].thread = std::thread([this, i] { worker_main(i); });
  } catch (const std::system_error&) {
    shut_down();
    throw Error("threads", "the system refuses to start " + std::to_string(n_threads) + " threads",
                "ask for fewer");
  }
}

void ThreadPool::Impl::shut_down() {
  stop.store(true);
  for (Worker& worker : workers) {
    wake(worker);
    if (worker.thread.joinable()) worker.thread.join();
  }
}

/// Takes the first chunk of the thread's own share, else the last one of another's.
bool ThreadPool::Impl::claim(uint64_t thread, uint64_t& chunk) {
  for (uint64_t i = 0; i < workers.size(); ++i) {
    std::atomic<uint64_t>& left = workers[(thread + i) % workers.size()].share;
    uint64_t seen = left.load(std::memory_order_acquire);
    while (thread < threads_of(seen) && begin_of(seen) < end_of(seen)) {
      const uint64_t first = begin_of(seen), last = end_of(seen) - 1, n_threads = threads_of(seen);
      chunk = i == 0 ? first : last;
      const uint64_t rest =
          i == 0 ? share(first + 1, last + 1, n_threads) : share(first, last, n_threads);
      if (left.compare_exchange_weak(seen, rest, std::memory_order_acquire)) return true;
    }
  }
  return false;
}

/// Claims and runs chunks until none is left for this thread.
void ThreadPool::Impl::work(uint64_t thread) {
  uint64_t n_mine = 0;
  for (uint64_t chunk = 0; claim(thread, chunk); ++n_mine)
    call(fn, first_chunk + chunk, static_cast<int>(thread));
  if (n_mine > 0) n_done.fetch_add(n_mine, std::memory_order_release);
}

void ThreadPool::Impl::worker_main(uint64_t thread) {
  // Sequentially consistent loads and stores of `loop`, `stop` and `parked`: either this thread
  // sees the new loop before it sleeps, or the caller sees that it sleeps.
  Worker& self = workers[thread];
  uint64_t last = 0;
  const auto ready = [&] {
    const uint64_t now = loop.load();
    return stop.load() || (now != last && thread < threads_of(now));
  };
  while (!stop.load()) {
    if (!spin_until(ready, spin)) {
      self.parked.store(1);
      if (!ready()) self.parked.wait(1);
      self.parked.store(0);
    }
    last = loop.load();
    work(thread);
  }
}

void ThreadPool::Impl::wake(Worker& worker) {
  if (worker.parked.load() == 0) return;
  worker.parked.store(0);
  worker.parked.notify_one();
}

ThreadPool::ThreadPool(int n_threads)
    : impl_(new Impl(std::clamp(n_threads, 1, static_cast<int>(kThreadMask)))) {}
ThreadPool::~ThreadPool() = default;
int ThreadPool::size() const { return static_cast<int>(impl_->workers.size()); }

/// The chunks first..first+n-1, n <= kMaxChunks, in equal shares.
void ThreadPool::Impl::run(size_t first, size_t n, size_t n_threads) {
  first_chunk = first;
  n_done.store(0, std::memory_order_relaxed);
  for (size_t i = 0; i < workers.size(); ++i) {
    const uint64_t begin = std::min(i, n_threads) * n / n_threads;
    const uint64_t end = std::min(i + 1, n_threads) * n / n_threads;
    workers[i].share.store(share(begin, end, n_threads), std::memory_order_release);
  }
  loop.store(((loop.load() >> kThreadBits) + 1) << kThreadBits | n_threads);
  for (size_t i = 1; i < n_threads; ++i) wake(workers[i]);
  work(0);
  const auto done = [&] { return n_done.load(std::memory_order_acquire) == n; };
  while (!spin_until(done, spin)) std::this_thread::yield();
}

void ThreadPool::run_all(size_t n_chunks, int n_threads, Call call, void* fn) {
  const size_t allowed = static_cast<size_t>(n_threads > 0 ? std::min(n_threads, size()) : size());
  const size_t team = std::min(allowed, n_chunks);
  if (team <= 1) {
    for (size_t chunk = 0; chunk < n_chunks; ++chunk) call(fn, chunk, 0);
    return;
  }
  impl_->call = call;
  impl_->fn = fn;
  for (size_t first = 0; first < n_chunks; first += kMaxChunks)
    impl_->run(first, std::min<size_t>(kMaxChunks, n_chunks - first), team);
}

#endif

void ThreadPool::run_erased(size_t n_chunks, int n_threads, Call call, void* fn) {
  // Nothing may be thrown past a thread while others run the loop. Once a chunk is left out, the
  // loop has failed.
  std::atomic<bool> stopped = false;
  std::exception_ptr thrown;
  const auto guarded = [&](size_t chunk, int thread) noexcept {
    if (stopped.load(std::memory_order_relaxed)) return;
    try {
      if (cancelled_ && cancelled_()) throw Error("threads", "their work was cancelled");
      call(fn, chunk, thread);
    } catch (...) {
      if (!stopped.exchange(true)) thrown = std::current_exception();
    }
  };
  using F = decltype(guarded);
  run_all(
      n_chunks, n_threads,
      [](void* f, size_t chunk, int thread) { (*static_cast<F*>(f))(chunk, thread); },
      const_cast<void*>(static_cast<const void*>(&guarded)));
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace nibble
