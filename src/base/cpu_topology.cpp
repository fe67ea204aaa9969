#include "base/cpu_topology.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
#include <thread>

#include "base/cgroup.h"
#include "base/thread_pool.h"

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace nibble {

namespace {

constexpr int kMaxCpus = 1 << 16;

// A core below this share of the fastest core's speed holds the others up at every barrier: the
// little cores of a phone or a board lie below it, the slower of two big kinds above.
constexpr double kSlowShare = 0.6;

std::string cpu_file(const std::string& root, int cpu, const char* name) {
  return root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + name;
}

/// `cpus` without those whose number in the file `name` is well below the greatest; all of them if
/// one has no such file.
std::vector<int> fast_by(const std::string& root, const std::vector<int>& cpus, const char* name) {
  std::vector<double> speeds;
  double fastest = 0;
  for (int cpu : cpus) {
    const auto speed = leading_number(read_system_file(cpu_file(root, cpu, name)));
    if (!speed) return cpus;
    speeds.push_back(static_cast<double>(*speed));
    fastest = std::max(fastest, speeds.back());
  }
  std::vector<int> fast;
  for (size_t i = 0; i < cpus.size(); ++i)
    if (speeds[i] >= kSlowShare * fastest) fast.push_back(cpus[i]);
  return fast;
}

std::vector<int> fast_cpus(const std::string& root, const std::vector<int>& allowed) {
  // Hybrid Intel processors list their performance cores.
  const auto big = parse_cpu_list(read_system_file(root + "/sys/devices/cpu_core/cpus"));
  std::vector<int> fast;
  std::set_intersection(allowed.begin(), allowed.end(), big.begin(), big.end(),
                        std::back_inserter(fast));
  if (!fast.empty()) return fast;
  return fast_by(root, fast_by(root, allowed, "cpu_capacity"), "cpufreq/cpuinfo_max_freq");
}

int physical_core_count(const std::string& root, const std::vector<int>& cpus) {
  std::set<std::string> cores;  // a core's name is the list of its hardware threads
  for (int cpu : cpus) {
    std::string core = read_system_file(cpu_file(root, cpu, "topology/core_cpus_list"));
    if (core.empty()) core = read_system_file(cpu_file(root, cpu, "topology/thread_siblings_list"));
    cores.insert(core.empty() ? std::to_string(cpu) : core);
  }
  return static_cast<int>(cores.size());
}

/// quota / period, in CPUs; infinite if there is no quota.
double cpus_of(std::optional<uint64_t> quota, std::optional<uint64_t> period) {
  if (!quota || !period || *period == 0) return std::numeric_limits<double>::infinity();
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

double cgroup_cpus(const std::string& root) {
  double cpus = std::numeric_limits<double>::infinity();
  const CgroupFolders folders = cgroup_folders(root, "cpu");
  for (const std::string& folder : folders.v2) {  // "max 100000" or "150000 100000"
    const std::string text = read_system_file(folder + "/cpu.max");
    const size_t blank = std::min(text.find(' '), text.size());
    cpus = std::min(cpus, cpus_of(leading_number(text), leading_number(text.substr(blank))));
  }
  for (const std::string& folder : folders.v1)  // a quota of -1 is none
    cpus = std::min(cpus, cpus_of(leading_number(read_system_file(folder + "/cpu.cfs_quota_us")),
                                  leading_number(read_system_file(folder + "/cpu.cfs_period_us"))));
  return cpus;
}

/// Ascending; empty if the system does not tell.
std::vector<int> allowed_cpus() {
  std::vector<int> allowed;
#if defined(__linux__)
  for (int n = 1024; n <= kMaxCpus; n *= 2) {  // the kernel refuses a set smaller than its own
    std::vector<cpu_set_t> set(static_cast<size_t>(n) / CPU_SETSIZE);
    const size_t bytes = set.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, set.data()) != 0) continue;
    for (int cpu = 0; cpu < n; ++cpu)
      if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set.data())) allowed.push_back(cpu);
    break;
  }
#endif
  return allowed;
}

}  // namespace

std::vector<int> parse_cpu_list(std::string_view text) {
  std::set<int> cpus;
  while (!text.empty()) {
    const std::string_view range = text.substr(0, text.find(','));
    text.remove_prefix(std::min(range.size() + 1, text.size()));
    const auto first = leading_number(range);
    const size_t dash = range.find('-');
    const auto last =
        dash == std::string_view::npos ? first : leading_number(range.substr(dash + 1));
    if (!first || !last || *last >= kMaxCpus) continue;
    for (uint64_t cpu = *first; cpu <= *last; ++cpu) cpus.insert(static_cast<int>(cpu));
  }
  return {cpus.begin(), cpus.end()};
}

int usable_core_count(const std::string& root, const std::vector<int>& allowed) {
  const int cores = physical_core_count(root, fast_cpus(root, allowed));
  const double quota = std::max(1.0, std::round(cgroup_cpus(root)));
  return std::max(1, static_cast<int>(std::min<double>(cores, quota)));
}

int allowed_cpu_count() {
  const std::vector<int> allowed = allowed_cpus();
  if (!allowed.empty()) return static_cast<int>(allowed.size());
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int default_thread_count() {
  const std::vector<int> allowed = allowed_cpus();
  if (!allowed.empty()) return usable_core_count("", allowed);
#if defined(__APPLE__)
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"}) {
    int cores = 0;
    size_t size = sizeof cores;
    if (sysctlbyname(name, &cores, &size, nullptr, 0) == 0 && cores > 0) return cores;
  }
#endif
  return allowed_cpu_count();
}

}  // namespace nibble
