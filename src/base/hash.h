// Tells one content from another; not against those who mean to collide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace nibble {

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
inline uint64_t hash_of(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3u;
  return hash;
}

}  // namespace nibble
