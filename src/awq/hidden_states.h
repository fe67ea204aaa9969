// The activations of the calibration text between two layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

/// Rows of floats [length, dim] for each window of the text: in memory, or in a temporary file if
/// they are many.
class HiddenStates {
 public:
  /// `file` is made if the rows take more than `memory` bytes; it has no name once it is open, so
  /// that nothing is left of it whatever happens. Throws Error.
  HiddenStates(std::vector<size_t> lengths, size_t dim, uint64_t memory, const std::string& file);
  HiddenStates(const HiddenStates&) = delete;
  HiddenStates& operator=(const HiddenStates&) = delete;
  ~HiddenStates();

  size_t n_windows() const { return lengths_.size(); }
  size_t length(size_t window) const { return lengths_[window]; }
  size_t n_tokens() const { return n_tokens_; }
  /// Copies the rows of a window to or from x [length, stride].
  void load(size_t window, float* x, size_t stride);
  void store(size_t window, const float* x, size_t stride);

 private:
  std::vector<size_t> lengths_, offsets_;  // offsets in rows
  size_t dim_, n_tokens_ = 0;
  std::vector<float> rows_;  // of everything, or of one window
  std::string path_;
  int fd_ = -1;
};

}  // namespace nibble
