#pragma once

#include <cstddef>
#include <cstdint>

#include "base/mapped_file.h"
#include "kernels.h"
#include "nibble/config.h"

namespace nibble {

/// Keys and values of every position, layer and KV head. Memory order: chunks of kAttentionChunk
/// positions, in each chunk layer by layer and head by head one block of keys and values (KvChunk):
/// a longer text takes further chunks, and only touched pages take memory.
class KvCache {
 public:
  /// Bytes for `context` positions.
  static uint64_t bytes(const Config& config, KvCode code, int context);

  /// Throws Error if the memory cannot be had.
  KvCache(const Config& config, KvCode code, int context);

  KvChunk chunk(int layer, int kv_head, int index) const;
  /// Writes the key and value [head_dim] of one position.
  void store(const Kernels& kernels, int layer, int kv_head, int position, const float* k,
             const float* v);
  int head_dim_padded() const { return static_cast<int>(layout_.head_dim_padded); }

 private:
  struct Layout {  // of the block of one chunk, layer and head, in bytes
    size_t head_dim_padded = 0;
    size_t v_offset = 0, k_scale_offset = 0, v_scale_offset = 0, block = 0;
  };
  static Layout layout_of(const Config& config, KvCode code);
  std::byte* block(int layer, int kv_head, int index) const;

  KvCode code_;
  int n_layers_, n_kv_heads_, head_dim_;
  Layout layout_;
  AnonymousMemory memory_;
};

}  // namespace nibble
