// gpt-oss's experts: the weights of their bytes by the format's document, and what does not fit
// together is refused by name. A whole model stands in test_families.
#include "quant/hf_mxfp4.h"

#include <cmath>

#include "base/mapped_file.h"
#include "check.h"
#include "quant/packed_matrix.h"
#include "quantized_layers.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr uint64_t kExperts = 2, kRows = 3, kGroups = 2;
const std::string kName = "model.layers.0.mlp.experts.down_proj";

/// Expert 0 is nothing but zeros; of expert 1 every block counts its codes up from 0, and row r has
/// the scales 2^r and 2^-r.
StoredTensors counting() {
  const size_t half = kRows * kGroups;
  std::string blocks(half * 16, '\0'), scales(half, '\0');
  for (size_t b = 0; b < half; ++b)
    for (int i = 0; i < 16; ++i)  // columns 2i and 2i + 1
      blocks += static_cast<char>((2 * i % 16) | (2 * i + 1) % 16 << 4);
  for (int row = 0; row < static_cast<int>(kRows); ++row)
    for (const int sign : {1, -1}) scales += static_cast<char>(127 + sign * row);
  return {{kName + "_blocks", DType::u8, {kExperts, kRows, kGroups, 16}, blocks},
          {kName + "_scales", DType::u8, {kExperts, kRows, kGroups}, scales}};
}

MatrixSource expert(const StoredCheckpoint& stored, int64_t index) {
  return mxfp4_expert_of(stored.checkpoint, stored.checkpoint.get(kName + "_blocks"), index,
                         static_cast<int64_t>(kExperts));
}

void holds_the_weights() {
  constexpr float kElements[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};
  const StoredCheckpoint stored(counting());
  for (const int64_t index : {0, 1}) {
    const MatrixSource source = expert(stored, index);
    const PackedShape shape = packed_shape_of(source, {});
    check_eq(format_name(shape), "fp4 g32");
    const PackedLayout layout = packed_layout(shape, "w");
    AnonymousMemory memory(layout.total_bytes());
    pack_panels(source, shape, {}, 0, layout.n_panels, memory.data(), *find_kernels("scalar"));
    const PackedView view = packed_view(shape, {memory.data(), layout.total_bytes()}, "w");
    for (size_t row = 0; row < kRows; ++row) {
      std::vector<float> found(kGroups * 32);
      unpack_row(view, row, found.data());
      for (size_t k = 0; k < found.size(); ++k) {
        const float scale = std::exp2(k < 32 ? float(row) : -float(row));
        check_eq(found[k], index == 0 ? 0.0f : kElements[k % 16] * scale, std::to_string(k));
      }
    }
  }
}

void refused() {
  const auto refuse = [](size_t tensor, const StoredTensor& other, const std::string& message) {
    StoredTensors tensors = counting();
    tensors[tensor] = other;
    const StoredCheckpoint stored(tensors);
    check_error([&] { expert(stored, 1); }, message);
  };
  const StoredTensors good = counting();
  StoredTensor t = good[0];
  t.shape = {kExperts + 1, kRows, kGroups, 16};
  t.bytes.resize(t.bytes.size() / kExperts * (kExperts + 1));
  refuse(0, t, "shape");
  t = good[0];
  t.shape = {kExperts, kRows, kGroups * 16};
  refuse(0, t, "[experts, rows, blocks, 16]");
  t = good[0];
  t.type = DType::i8;
  refuse(0, t, "type");
  t = good[1];
  t.shape = {kExperts, kGroups, kRows};
  refuse(1, t, "down_proj_scales");
  t = good[1];
  t.name = "other";
  refuse(1, t, kName + "_scales\" is missing");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv, {{"holds the weights", holds_the_weights}, {"refused", refused}});
}
