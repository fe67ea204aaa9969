#include "model/kv_cache.h"

#include "base/checked.h"

namespace nibble {
namespace {

size_t element_bytes(KvCode code) {
  switch (code) {
    case KvCode::f32:
      return 4;
    case KvCode::f16:
      return 2;
    case KvCode::q8:
      return 1;
  }
  return 4;
}

}  // namespace

KvCache::Layout KvCache::layout_of(const Config& config, KvCode code) {
  const size_t head_dim = static_cast<size_t>(config.head_dim);
  const size_t scales = code == KvCode::q8 ? kAttentionChunk * sizeof(float) : 0;
  Layout out;
  out.head_dim_padded = round_up(head_dim, 16);
  out.v_offset = kAttentionChunk * head_dim * element_bytes(code);
  out.k_scale_offset = out.v_offset + kAttentionChunk * out.head_dim_padded * element_bytes(code);
  out.v_scale_offset = out.k_scale_offset + scales;
  out.block = round_up(out.v_scale_offset + scales, 64);
  return out;
}

uint64_t KvCache::bytes(const Config& config, KvCode code, int context) {
  const std::string where = "KV cache";
  const uint64_t chunks = ceil_div(static_cast<uint64_t>(context), kAttentionChunk);
  const uint64_t heads = checked_mul(static_cast<uint64_t>(config.n_layers),
                                     static_cast<uint64_t>(config.n_kv_heads), where);
  return checked_mul(checked_mul(chunks, heads, where), layout_of(config, code).block, where);
}

// The first chunk is without huge pages: a short conversation takes no more memory than it uses. A
// long one is read as fast as memory gives it, and takes its memory chunk after chunk.
KvCache::KvCache(const Config& config, KvCode code, int context)
    : code_(code),
      n_layers_(config.n_layers),
      n_kv_heads_(config.n_kv_heads),
      head_dim_(config.head_dim),
      layout_(layout_of(config, code)),
      memory_(bytes(config, code, context), bytes(config, code, 1)) {}

std::byte* KvCache::block(int layer, int kv_head, int index) const {
  const size_t i =
      (static_cast<size_t>(index) * static_cast<size_t>(n_layers_) + static_cast<size_t>(layer)) *
          static_cast<size_t>(n_kv_heads_) +
      static_cast<size_t>(kv_head);
  return memory_.data() + i * layout_.block;
}

KvChunk KvCache::chunk(int layer, int kv_head, int index) const {
  const std::byte* at = block(layer, kv_head, index);
  KvChunk out;
  out.code = code_;
  out.k = at;
  out.v = at + layout_.v_offset;
  if (code_ == KvCode::q8) {
    out.k_scale = reinterpret_cast<const float*>(at + layout_.k_scale_offset);
    out.v_scale = reinterpret_cast<const float*>(at + layout_.v_scale_offset);
  }
  return out;
}

void KvCache::store(const Kernels& kernels, int layer, int kv_head, int position, const float* k,
                    const float* v) {
  const int chunk_size = static_cast<int>(kAttentionChunk);
  std::byte* at = block(layer, kv_head, position / chunk_size);
  const size_t pos = static_cast<size_t>(position % chunk_size);
  const size_t head_dim = static_cast<size_t>(head_dim_);
  kernels.store_key(k, head_dim, pos, code_, at,
                    reinterpret_cast<float*>(at + layout_.k_scale_offset));
  kernels.store_value(v, head_dim, pos, code_, at + layout_.v_offset,
                      reinterpret_cast<float*>(at + layout_.v_scale_offset));
}

}  // namespace nibble
