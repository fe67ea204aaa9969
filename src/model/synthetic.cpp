#include "model/synthetic.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "base/half.h"
#include "base/random.h"
#include "model/config_reader.h"
#include "model/model_loader.h"

namespace nibble {
namespace {

Config shape(int dim, int layers, int heads, int kv_heads, int ffn, int vocab, int context,
             float theta) {
  Config c;
  c.dim = dim;
  c.n_layers = layers;
  c.n_heads = heads;
  c.n_kv_heads = kv_heads;
  c.head_dim = dim / heads;
  c.rope_dim = c.head_dim;
  c.ffn_dim = ffn;
  c.vocab_size = vocab;
  c.context_length = context;
  c.rope_theta = theta;
  return c;
}

PackedShape shape_of(uint32_t rows, uint32_t cols, WeightType type, uint16_t group) {
  PackedShape s;
  s.rows = rows;
  s.cols = cols;
  switch (type) {
    case WeightType::automatic:
    case WeightType::q4:
      s.codes = Codes::q4;
      s.scheme = Scheme::f16;
      s.group = group;
      s.zero = 8;
      break;
    case WeightType::q8:
      s.codes = Codes::q8;
      s.scheme = Scheme::f16;
      s.group = group;
      s.zero = 128;
      break;
    case WeightType::f16:
      s.codes = Codes::f16;
      break;
    case WeightType::f32:
      s.codes = Codes::f32;
      break;
  }
  return s;
}

// Random codes with scales that give weights of about unit variance over a row; floats are drawn
// from a narrow set that is cheap to make and never NaN.
void fill(const PackedShape& s, const PackedLayout& layout, std::byte* out, size_t first_panel,
          size_t end_panel) {
  const float spread = s.codes == Codes::q4 ? 4.6f : 73.0f;
  const float weight = 1.0f / std::sqrt(static_cast<float>(s.cols));
  const uint16_t scale = float_to_half(weight / spread);
  const uint32_t f32 = std::bit_cast<uint32_t>(weight);
  const uint64_t f16 = float_to_half(weight);
  for (size_t panel = first_panel; panel < end_panel; ++panel) {
    Random random(panel * 0x10001 + s.cols);
    std::byte* codes = out + panel * layout.code_stride;
    for (size_t i = 0; i + 8 <= layout.code_stride; i += 8) {
      uint64_t word = random.next();
      if (s.codes == Codes::f32)  // +-weight: random signs
        word = (word & 0x8000000080000000u) | (uint64_t{f32} << 32 | f32);
      else if (s.codes == Codes::f16)
        word = (word & 0x8000800080008000u) | f16 * 0x0001000100010001u;
      std::memcpy(codes + i, &word, sizeof word);
    }
    if (s.scheme == Scheme::none) continue;
    std::byte* scales = out + layout.codes_bytes + panel * layout.scale_stride;
    for (size_t i = 0; i + 2 <= layout.scale_stride; i += 2)
      std::memcpy(scales + i, &scale, sizeof scale);
  }
}

}  // namespace

const std::vector<NamedShape>& named_shapes() {
  static const std::vector<NamedShape> shapes = {
      {"stories15m", shape(288, 6, 6, 6, 768, 32000, 256, 1e4f)},
      {"stories110m", shape(768, 12, 12, 12, 2048, 32000, 1024, 1e4f)},
      {"smollm2-135m", shape(576, 30, 9, 3, 1536, 49152, 8192, 1e5f)},
      {"smollm2-360m", shape(960, 32, 15, 5, 2560, 49152, 8192, 1e5f)},
      {"tinyllama-1.1b", shape(2048, 22, 32, 4, 5632, 32000, 2048, 1e4f)},
      {"llama3.2-1b", shape(2048, 16, 32, 8, 8192, 128256, 131072, 5e5f)},
      {"smollm2-1.7b", shape(2048, 24, 32, 32, 8192, 49152, 8192, 1.3e5f)},
      {"llama3.2-3b", shape(3072, 28, 24, 8, 8192, 128256, 131072, 5e5f)},
      {"llama2-7b", shape(4096, 32, 32, 32, 11008, 32000, 4096, 1e4f)},
      {"mistral-7b", shape(4096, 32, 32, 8, 14336, 32000, 32768, 1e4f)},
      {"llama3-8b", shape(4096, 32, 32, 8, 14336, 128256, 8192, 5e5f)},
      {"llama2-13b", shape(5120, 40, 40, 40, 13824, 32000, 4096, 1e4f)},
  };
  return shapes;
}

Model synthetic_model(const Config& config, const ModelOptions& options) {
  const auto model = make_model_impl(options);
  const uint16_t group = checked_group(options.group);
  model->config = config;
  validate_config(config, "shape");
  const WeightType head =
      options.weights == WeightType::automatic ? WeightType::q8 : options.weights;
  const auto shape = [&](bool linear, uint32_t rows, uint32_t cols) {
    return shape_of(rows, cols, linear ? options.weights : head, group);
  };
  generate_weights(config, {shape, fill}, model->weights, *model->pool);
  describe_model(*model, "random weights", 0);
  return Model(std::shared_ptr<const ModelImpl>(model));
}

}  // namespace nibble
