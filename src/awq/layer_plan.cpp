#include "awq/layer_plan.h"

#include <charconv>

#include "quant/packed_matrix.h"

namespace nibble {

void retarget(PlannedMatrix& m, PackTarget::Kind kind) {
  const uint32_t rows = m.shape.rows;  // the tensor may hold those of other matrices, too
  m.target.kind = kind;
  m.shape = packed_shape_of(m.source, m.target);
  m.shape.rows = rows;
}

bool is_rounded(const PlannedMatrix& m) {
  using Kind = PackTarget::Kind;
  const Kind kind = m.target.kind;
  return layer_of(m.name) >= 0 && !m.source.has_grid() &&
         (kind == Kind::q4 || kind == Kind::q4_k || kind == Kind::q6_k);
}

int layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return -1;
  name.remove_prefix(kPrefix.size());
  int layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  return error == std::errc{} && end != name.data() + name.size() && *end == '.' ? layer : -1;
}

}  // namespace nibble
