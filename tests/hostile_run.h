// What the programs of hostile cases share: a limit for each allocation, and what is done with a
// file. To be included once in a program.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <new>

#include "hostile_cases.h"
#include "load/checkpoint.h"
#include "nibble/nibble.h"

namespace {

constexpr size_t kLargestAllocation = size_t{64} << 20;  // bytes; the files have a few thousand
size_t largest = 0;

void* allocate(size_t size) {
  largest = std::max(largest, size);
  void* memory = size > kLargestAllocation ? nullptr : std::malloc(size > 0 ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace nibble::test {

size_t largest_allocation() { return largest; }

/// Everything that is done with a model file up to the second token.
void exercise(const std::string& path) {
  const Checkpoint checkpoint = open_checkpoint(path);
  unsigned sum = 0;
  for (const TensorView& tensor : checkpoint.tensors)
    for (const std::byte b : tensor.data) sum += static_cast<unsigned>(b);
  volatile unsigned keep = sum;
  (void)keep;
  write_json(checkpoint.metadata);

  ModelOptions options;
  options.threads = 1;
  const Model model(path, options);
  SessionOptions small;
  small.context = 4;
  Session session(model, small);
  const std::vector<Token> tokens = {0, model.config().vocab_size - 1};
  session.eval(tokens);
  if (!model.has_tokenizer()) return;
  const std::vector<Token> ids = model.tokenizer().encode("abcd <s> \xff");
  model.tokenizer().decode(ids, true);
}

}  // namespace nibble::test
