#include "base/thread_pool.h"

#include <algorithm>
#include <cstdint>

#if defined(NIBBLE_OPENMP)
#include <omp.h>
#else
#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cpu_topology.h"
#include "nibble/error.h"
#endif

namespace nibble {

#if defined(NIBBLE_OPENMP)

struct ThreadPool::Impl {
  int n_threads;
};

ThreadPool::ThreadPool(int n_threads) : impl_(new Impl{std::max(n_threads, 1)}) {}
ThreadPool::~ThreadPool() = default;
int ThreadPool::size() const { return impl_->n_threads; }

void ThreadPool::run_erased(size_t n_chunks, int n_threads, Call call, void* fn) {
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

// The state of the loop that runs, in one word, so that a worker that comes late can tell with one
// compare-and-swap whether a chunk is left for it: chunks not yet claimed, and threads allowed.
constexpr uint64_t kThreadBits = 16;
constexpr uint64_t kMaxThreads = (1u << kThreadBits) - 1;
constexpr uint64_t pack(uint64_t unclaimed, uint64_t n_threads) {
  return unclaimed << kThreadBits | n_threads;
}
constexpr uint64_t unclaimed(uint64_t word) { return word >> kThreadBits; }
constexpr bool has_work(uint64_t word, uint64_t thread) {
  return thread < (word & kMaxThreads) && unclaimed(word) > 0;
}

}  // namespace

struct ThreadPool::Impl {
  struct Worker {
    alignas(kCacheLine) std::atomic<int> parked = 0;  // 1 while the thread sleeps
    std::thread thread;
  };

  alignas(kCacheLine) std::atomic<uint64_t> word = 0;
  alignas(kCacheLine) std::atomic<uint64_t> n_done = 0;  // chunks
  // Written before `word` is and read only by a thread that holds a chunk: the loop cannot end, so
  // the next one cannot begin, before that chunk is counted in n_done.
  alignas(kCacheLine) Call call = nullptr;
  void* fn = nullptr;
  uint64_t n_chunks = 0;
  std::atomic<bool> stop = false;
  std::vector<Worker> workers;  // thread i + 1
  std::chrono::nanoseconds spin;

  explicit Impl(int n_threads);
  ~Impl() { shut_down(); }
  void work(uint64_t thread);
  void worker_main(Worker& self, uint64_t thread);
  static void wake(Worker& worker);
  void shut_down();
};

ThreadPool::Impl::Impl(int n_threads)
    : workers(static_cast<size_t>(n_threads - 1)),
      spin(n_threads <= allowed_cpu_count() ? kSpin : kSpinOversubscribed) {
  try {
    for (size_t i = 0; i < workers.size(); ++i)
      workers[i].thread = std::thread([this, i] { worker_main(workers[i], i + 1); });
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

/// Claims and runs chunks until none is left for this thread.
void ThreadPool::Impl::work(uint64_t thread) {
  uint64_t n_mine = 0;
  uint64_t seen = word.load(std::memory_order_acquire);
  while (has_work(seen, thread)) {
    if (!word.compare_exchange_weak(seen, seen - pack(1, 0), std::memory_order_acquire)) continue;
    call(fn, n_chunks - unclaimed(seen), static_cast<int>(thread));
    ++n_mine;
    seen = word.load(std::memory_order_acquire);
  }
  if (n_mine > 0) n_done.fetch_add(n_mine, std::memory_order_release);
}

void ThreadPool::Impl::worker_main(Worker& self, uint64_t thread) {
  // Sequentially consistent loads and stores of `word`, `stop` and `parked`: either this thread
  // sees the new work before it sleeps, or the caller sees that it sleeps.
  const auto ready = [&] { return stop.load() || has_work(word.load(), thread); };
  while (!stop.load()) {
    work(thread);
    if (spin_until(ready, spin)) continue;
    self.parked.store(1);
    if (!ready()) self.parked.wait(1);
    self.parked.store(0);
  }
}

void ThreadPool::Impl::wake(Worker& worker) {
  if (worker.parked.load() == 0) return;
  worker.parked.store(0);
  worker.parked.notify_one();
}

ThreadPool::ThreadPool(int n_threads)
    : impl_(new Impl(std::clamp(n_threads, 1, static_cast<int>(kMaxThreads)))) {}
ThreadPool::~ThreadPool() = default;
int ThreadPool::size() const { return static_cast<int>(impl_->workers.size()) + 1; }

void ThreadPool::run_erased(size_t n_chunks, int n_threads, Call call, void* fn) {
  if (n_chunks == 0) return;
  const size_t allowed = static_cast<size_t>(n_threads > 0 ? std::min(n_threads, size()) : size());
  const size_t team = std::min(allowed, n_chunks);
  if (team == 1) {
    for (size_t chunk = 0; chunk < n_chunks; ++chunk) call(fn, chunk, 0);
    return;
  }
  Impl& pool = *impl_;
  pool.call = call;
  pool.fn = fn;
  pool.n_chunks = n_chunks;
  pool.n_done.store(0, std::memory_order_relaxed);
  pool.word.store(pack(n_chunks, team));
  for (size_t i = 0; i + 1 < team; ++i) Impl::wake(pool.workers[i]);
  pool.work(0);
  const auto done = [&] { return pool.n_done.load(std::memory_order_acquire) == n_chunks; };
  while (!spin_until(done, pool.spin)) std::this_thread::yield();
}

#endif

}  // namespace nibble
