// The thread pool, and what it and the loader believe about the machine.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <new>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/cpu_topology.h"
#include "base/mapped_file.h"
#include "base/memory_info.h"
#include "base/thread_pool.h"
#include "check.h"

namespace {

using namespace nibble;
using namespace nibble::test;

/// A stand-in for the system's /sys and /proc.
class FakeRoot {
 public:
  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = folder_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void write_cpu(int cpu, const std::string& file, const std::string& text) const {
    write("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + file, text + "\n");
  }
  std::string path() const { return folder_.path(); }

 private:
  TempDir folder_;
};

std::vector<int> first_cpus(int n) {
  std::vector<int> cpus(static_cast<size_t>(n));
  std::iota(cpus.begin(), cpus.end(), 0);
  return cpus;
}

void every_chunk_runs_once() {
  for (int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    check_eq(pool.size(), n_threads);
    for (size_t n_chunks : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(n_chunks);
      std::atomic<bool> in_range = true;
      pool.run(n_chunks, [&](size_t chunk, int thread) {
        if (thread < 0 || thread >= n_threads) in_range = false;
        ++runs[chunk];
      });
      check(in_range, "a thread index is out of range");
      for (const auto& n : runs) check_eq(n.load(), 1, "runs of a chunk");
    }
  }
}

/// Plain writes of one loop are read by another thread in the next: a missing barrier is a wrong
/// sum, and a report under ThreadSanitizer.
void loops_see_the_results_of_the_loop_before() {
  constexpr size_t kChunks = 16;
  ThreadPool pool(4);
  std::vector<uint64_t> a(kChunks, 1), b(kChunks);
  for (int step = 0; step < 2000; ++step) {
    pool.run(kChunks, [&](size_t i, int) { b[i] = a[(i + 1) % kChunks] + 1; });
    pool.run(kChunks, [&](size_t i, int) { a[i] = b[(i + 5) % kChunks]; });
  }
  for (uint64_t value : a) check_eq(value, 2001u);
}

void n_threads_limits_who_takes_part() {
  ThreadPool pool(4);
  for (int n_threads : {1, 2, 3}) {
    std::atomic<int> greatest = 0;
    for (int repeat = 0; repeat < 200; ++repeat) {
      pool.run(
          64,
          [&](size_t, int thread) {
            for (int seen = greatest;
                 thread > seen && !greatest.compare_exchange_weak(seen, thread);) {
            }
          },
          n_threads);
    }
    check(greatest < n_threads, "thread " + std::to_string(greatest) + " took part");
  }
}

void all_threads_take_part() {
  ThreadPool pool(3);
  std::atomic<int> arrived = 0;
  // Each chunk waits for the others, so this ends only if three threads run one each.
  pool.run(3, [&](size_t, int) {
    ++arrived;
    while (arrived < 3) std::this_thread::yield();
  });
  check_eq(arrived.load(), 3);
}

void a_parked_pool_wakes() {
  ThreadPool pool(3);
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> arrived = 0;
    pool.run(3, [&](size_t, int) {
      ++arrived;
      while (arrived < 3) std::this_thread::yield();
    });
  }
}

void threads_walk_up_their_shares() {
  ThreadPool pool(2);
  std::vector<std::vector<size_t>> claimed(2);
  pool.run(500, [&](size_t chunk, int thread) {
    claimed[static_cast<size_t>(thread)].push_back(chunk);
  });
  for (size_t thread = 0; thread < 2; ++thread) {
    std::vector<size_t>& chunks = claimed[thread];
    std::erase_if(chunks, [&](size_t chunk) { return chunk / 250 != thread; });
    check(std::is_sorted(chunks.begin(), chunks.end()));
  }
}

/// The thread that has chunk 0 is held up until all others are done, those of its share included.
void a_slow_thread_is_helped() {
  constexpr size_t kChunks = 100;
  ThreadPool pool(3);
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::atomic<size_t> n_done = 0;
    pool.run(kChunks, [&](size_t chunk, int) {
      while (chunk == 0 && n_done < kChunks - 1) std::this_thread::yield();
      ++n_done;
    });
    check_eq(n_done.load(), kChunks);
  }
}

void callers_may_change_between_loops() {
  ThreadPool pool(3);
  uint64_t sum = 0;
  std::vector<uint64_t> values(50);
  for (uint64_t round = 1; round <= 20; ++round) {
    std::thread caller(
        [&] { pool.run(values.size(), [&](size_t i, int) { values[i] += round; }); });
    caller.join();
  }
  for (uint64_t value : values) sum += value;
  check_eq(sum, 50u * 210u);
}

void more_threads_than_cores_make_progress() {
  ThreadPool pool(allowed_cpu_count() * 4 + 3);
  std::atomic<uint64_t> sum = 0;
  for (int step = 0; step < 300; ++step) pool.run(40, [&](size_t i, int) { sum += i; });
  check_eq(sum.load(), 300u * 780u);
}

void pools_come_and_go() {
  for (int repeat = 0; repeat < 50; ++repeat) {
    ThreadPool idle(3);
    ThreadPool busy(2);
    std::atomic<int> n = 0;
    busy.run(4, [&](size_t, int) { ++n; });
    check_eq(n.load(), 4);
  }
}

void cpu_lists() {
  const auto is = [](const char* text, std::vector<int> expected) {
    check(parse_cpu_list(text) == expected, text);
  };
  is("", {});
  is("0\n", {0});
  is("0-3,8,10-11\n", {0, 1, 2, 3, 8, 10, 11});
  is("4,2", {2, 4});
  is("5-3,x,7-,-", {});
  is("0-99999999999", {});
}

void cores_without_information_count_each() {
  const FakeRoot root;
  check_eq(usable_core_count(root.path(), first_cpus(6)), 6);
  check_eq(usable_core_count(root.path(), {}), 1);
}

void hardware_threads_share_a_core() {
  const FakeRoot root;
  for (int cpu = 0; cpu < 4; ++cpu) {
    root.write_cpu(cpu, "topology/core_cpus_list",
                   std::to_string(cpu) + "," + std::to_string(cpu + 4));
    root.write_cpu(cpu + 4, "topology/thread_siblings_list",
                   std::to_string(cpu) + "," + std::to_string(cpu + 4));
  }
  check_eq(usable_core_count(root.path(), first_cpus(8)), 4);
  check_eq(usable_core_count(root.path(), {1, 5, 6}), 2, "affinity to three threads of two cores");
}

void slow_cores_are_left_out() {
  const FakeRoot hybrid;  // two performance cores of two threads, four slow cores
  hybrid.write("sys/devices/cpu_core/cpus", "0-3\n");
  for (int cpu = 0; cpu < 8; ++cpu)
    hybrid.write_cpu(cpu, "topology/core_cpus_list",
                     cpu >= 4  ? std::to_string(cpu)
                     : cpu < 2 ? "0-1"
                               : "2-3");
  check_eq(usable_core_count(hybrid.path(), first_cpus(8)), 2);
  check_eq(usable_core_count(hybrid.path(), {4, 5, 6}), 3, "only slow cores allowed");

  const FakeRoot board;  // four little and four big cores
  for (int cpu = 0; cpu < 8; ++cpu) board.write_cpu(cpu, "cpu_capacity", cpu < 4 ? "414" : "1024");
  check_eq(usable_core_count(board.path(), first_cpus(8)), 4);

  const FakeRoot phone;  // one prime core, three big, four little; told by frequency alone
  const char* const khz[] = {"2000000", "2000000", "2000000", "2000000",
                             "2800000", "2800000", "2800000", "3400000"};
  for (int cpu = 0; cpu < 8; ++cpu) phone.write_cpu(cpu, "cpufreq/cpuinfo_max_freq", khz[cpu]);
  check_eq(usable_core_count(phone.path(), first_cpus(8)), 4);
}

void cpu_quotas() {
  const FakeRoot v2;
  v2.write("proc/self/cgroup", "0::/a.slice/b.scope\n");
  v2.write("sys/fs/cgroup/a.slice/b.scope/cpu.max", "max 100000\n");
  check_eq(usable_core_count(v2.path(), first_cpus(8)), 8, "no quota");
  v2.write("sys/fs/cgroup/a.slice/cpu.max", "300000 100000\n");
  check_eq(usable_core_count(v2.path(), first_cpus(8)), 3, "quota of the parent");
  v2.write("sys/fs/cgroup/a.slice/b.scope/cpu.max", "20000 100000\n");
  check_eq(usable_core_count(v2.path(), first_cpus(8)), 1, "a fifth of a CPU");

  const FakeRoot v1;  // a container that sees the host's path, whose folder it does not have
  v1.write("proc/self/cgroup", "5:memory:/\n4:cpu,cpuacct:/docker/0123\n0::/\n");
  v1.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  v1.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  check_eq(usable_core_count(v1.path(), first_cpus(8)), 8, "no quota");
  v1.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  check_eq(usable_core_count(v1.path(), first_cpus(8)), 2);
}

void memory_limits() {
  const FakeRoot root;
  check_eq(available_memory_linux(root.path()), 0u, "unknown");
  root.write("proc/meminfo", "MemTotal:  9000 kB\nMemFree:  1000 kB\nMemAvailable:    4000 kB\n");
  check_eq(available_memory_linux(root.path()), 4096000u);

  root.write("proc/self/cgroup", "0::/x\n");
  root.write("sys/fs/cgroup/x/memory.max", "max\n");
  root.write("sys/fs/cgroup/x/memory.current", "500000\n");
  check_eq(available_memory_linux(root.path()), 4096000u, "no limit");
  root.write("sys/fs/cgroup/x/memory.max", "600000\n");
  check_eq(available_memory_linux(root.path()), 100000u);
  root.write("sys/fs/cgroup/x/memory.stat", "anon 1\ninactive_file 20000\nactive_file 3000\n");
  check_eq(available_memory_linux(root.path()), 123000u, "file pages can be dropped");
  root.write("sys/fs/cgroup/x/memory.max", "400000\n");
  root.write("sys/fs/cgroup/x/memory.stat", "");
  check_eq(available_memory_linux(root.path()), 0u, "over the limit");

  root.write("proc/self/cgroup", "3:memory:/y\n");
  root.write("sys/fs/cgroup/memory/y/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("sys/fs/cgroup/memory/y/memory.usage_in_bytes", "1000\n");
  check_eq(available_memory_linux(root.path()), 4096000u, "version 1 without a limit");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "70000\n");
  root.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "20000\n");
  check_eq(available_memory_linux(root.path()), 50000u, "version 1, limit of the parent");
}

/// Cancelled once, the loop has failed, though the next answer is another one.
void cancelled_loops() {
  ThreadPool pool(3);
  std::atomic<int> n_asked = 0;
  const auto loop = [&] { pool.run(100, [](size_t, int) {}); };
  pool.cancel_when([&] { return ++n_asked == 30; });
  check_error(loop, "cancelled");
  pool.cancel_when([&]() -> bool { throw std::out_of_range("the caller's own"); });
  std::string said;
  try {
    loop();
  } catch (const std::out_of_range& e) {
    said = e.what();
  }
  check_eq(said, "the caller's own");
  pool.cancel_when([] { return false; });
  loop();
}

/// What a chunk throws, on whichever thread, comes to the caller, and the pool goes on.
void chunks_that_throw() {
  ThreadPool pool(3);
  for (const size_t at : {size_t{0}, size_t{50}, size_t{99}}) {
    std::atomic<int> n_begun = 0;
    bool caught = false;
    try {
      pool.run(100, [&](size_t chunk, int) {
        ++n_begun;
        if (chunk == at) throw std::bad_alloc();
      });
    } catch (const std::bad_alloc&) {
      caught = true;
    }
    check(caught && n_begun >= 1 && n_begun <= 100, "thrown");
    n_begun = 0;
    pool.run(100, [&](size_t, int) { ++n_begun; });
    check_eq(n_begun.load(), 100, "the next loop");
  }
}

void this_machine() {
  check(default_thread_count() >= 1 && default_thread_count() <= allowed_cpu_count(),
        "default_thread_count() is out of range");
  check(available_memory() > 0, "available_memory() is unknown");
}

}  // namespace

int main(int argc, char** argv) {
  return run(
      argc, argv,
      {{"every chunk runs once", every_chunk_runs_once},
       {"loops see the results of the loop before", loops_see_the_results_of_the_loop_before},
       {"n_threads limits who takes part", n_threads_limits_who_takes_part},
       {"all threads take part", all_threads_take_part},
       {"a parked pool wakes", a_parked_pool_wakes},
       {"threads walk up their shares", threads_walk_up_their_shares},
       {"a slow thread is helped", a_slow_thread_is_helped},
       {"callers may change between loops", callers_may_change_between_loops},
       {"more threads than cores make progress", more_threads_than_cores_make_progress},
       {"pools come and go", pools_come_and_go},
       {"cpu lists", cpu_lists},
       {"cores without information count each", cores_without_information_count_each},
       {"hardware threads share a core", hardware_threads_share_a_core},
       {"slow cores are left out", slow_cores_are_left_out},
       {"cpu quotas", cpu_quotas},
       {"memory limits", memory_limits},
       {"cancelled loops", cancelled_loops},
       {"chunks that throw", chunks_that_throw},
       {"this machine", this_machine}});
}
