// Runs a fuzz target without libFuzzer: mutates its seeds N times, the same way for the same seed.
//   driver [ITERATIONS [SEED]]   or   driver -r FILE...   to run saved inputs
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "fuzz/fuzz.h"

namespace {

using Random = std::mt19937_64;

size_t below(Random& random, size_t n) { return n ? random() % n : 0; }

// Numbers at which size arithmetic breaks, in 1, 2, 4 or 8 bytes.
std::string awkward_number(Random& random) {
  const uint64_t power = uint64_t{1} << below(random, 64);
  const uint64_t value = (random() & 1 ? power : ~power) + below(random, 3) - 1;
  return nibble::test::raw(value).substr(0, size_t{1} << below(random, 4));
}

void mutate(std::string& input, const std::vector<std::string>& seeds, Random& random) {
  const size_t at = below(random, input.size() + 1);
  const size_t length = std::min(below(random, 32), input.size() - at);
  switch (below(random, 8)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(random, 8)));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random());
      break;
    case 2: {
      const std::string number = awkward_number(random);
      input.replace(at, std::min(number.size(), input.size() - at), number);
      break;
    }
    case 3:
      input.erase(at, length);
      break;
    case 4:
      input.insert(at, std::string(input, at, length));
      break;
    case 5:
      input.resize(at);
      break;
    case 6: {
      const std::string& other = seeds[below(random, seeds.size())];
      const size_t from = below(random, other.size() + 1);
      input.insert(at, other, from, below(random, 64));
      break;
    }
    default:
      input.replace(at, length, std::string(length, static_cast<char>(random())));
      break;
  }
}

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "-r") {
    for (int i = 2; i < argc; ++i) run(nibble::test::read_file(argv[i]));
    return 0;
  }
  const long iterations = argc > 1 ? std::atol(argv[1]) : 10000;
  Random random(argc > 2 ? static_cast<uint64_t>(std::atol(argv[2])) : 1);
  const std::vector<std::string> seeds = fuzz_seeds();
  for (const std::string& seed : seeds) run(seed);
  for (long i = 0; i < iterations; ++i) {
    std::string input = seeds[below(random, seeds.size())];
    // Damage near the start, where headers are, as often as anywhere.
    const size_t kept = random() & 1 ? input.size() : std::min<size_t>(input.size(), 256);
    std::string head = input.substr(0, kept);
    for (size_t n = 1 + below(random, 4); n > 0; --n) mutate(head, seeds, random);
    run(head + input.substr(kept));
  }
  std::printf("%ld inputs\n", iterations);
  return 0;
}
