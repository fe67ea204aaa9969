// gpt-oss: experts in MXFP4, they and the router with biases, a gate that is clamped, a learned
// score in the softmax of attention, YaRN between fractions of pairs.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "family_cases.h"
#include "stored_tensors.h"

namespace nibble::test {
namespace {

const std::string kExperts = kLayer + "mlp.experts.";
const char* const kParts[] = {"gate", "up", "down"};

// E2M1, the elements of MXFP4: sign, two bits of exponent, one of mantissa.
constexpr double kElements[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

// The code of the element nearest to x.
int code_of(double x) {
  int best = 0;
  for (int i = 1; i < 8; ++i)
    if (std::abs(std::abs(x) - kElements[i]) < std::abs(std::abs(x) - kElements[best])) best = i;
  return x < 0 ? best + 8 : best;
}

// The power of two that makes elements of up to 6 of 32 weights.
int exponent_of(const float* weights) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(weights[i]));
  return static_cast<int>(std::ceil(std::log2(largest / 6)));
}

// Rounds to what MXFP4 holds.
void round_to_mxfp4(Tensor& t) {
  for (size_t i = 0; i < t.data.size(); i += 32) {
    const double scale = std::exp2(exponent_of(&t.data[i]));
    for (size_t j = i; j < i + 32; ++j) {
      const int code = code_of(static_cast<double>(t.data[j]) / scale);
      t.data[j] = static_cast<float>((code < 8 ? 1 : -1) * kElements[code % 8] * scale);
    }
  }
}

std::string expert_name(const char* part, int layer, int expert) {
  return layer_name(kExperts, layer) + std::to_string(expert) + "." + part + "_proj";
}

void make(TensorMaker& m, const FamilyConfig& c) {
  const Shapes s(c);
  const int n_experts = c.integer("num_local_experts");
  m.matrix("model.embed_tokens.weight", s.vocab, s.dim, 1);
  for (int i = 0; i < s.layers; ++i) {
    const std::string layer = layer_name(kLayer, i);
    m.norm(layer + "input_layernorm.weight", s.dim);
    make_attention(m, s, layer + "self_attn.", true, true);
    m.norm(layer + "self_attn.sinks", s.heads);
    m.norm(layer + "post_attention_layernorm.weight", s.dim);
    m.linear(layer + "mlp.router", n_experts, s.dim, true);
    for (int e = 0; e < n_experts; ++e) {
      for (const char* part : {"gate", "up"}) {  // large enough to be clamped
        m.matrix(expert_name(part, i, e) + ".weight", s.ffn, s.dim);
        round_to_mxfp4(m.tensors.at(expert_name(part, i, e) + ".weight"));
        m.vector(expert_name(part, i, e) + ".bias", s.ffn, 0, 9);
      }
      m.linear(expert_name("down", i, e), s.dim, s.ffn, true);
      round_to_mxfp4(m.tensors.at(expert_name("down", i, e) + ".weight"));
    }
  }
  m.norm("model.norm.weight", s.dim);
  m.matrix("lm_head.weight", s.vocab, s.dim);
}

// Attention over n positions and one more, whose key gives the score of the sink and whose value is
// zero: the softmax of the model's code, taken literally.
Matrix attend_with_sinks(const Matrix& q, const Matrix& k, const Matrix& v, const Shapes& s,
                         int window, const Tensor& sinks) {
  Matrix out(q.rows, q.cols);
  for (int t = 0; t < q.rows; ++t)
    for (int h = 0; h < s.heads; ++h) {
      const int kv = h / (s.heads / s.kv_heads);
      const int first = window > 0 ? std::max(0, t + 1 - window) : 0;
      std::vector<double> weight;
      double sum = std::exp(static_cast<double>(sinks.data[static_cast<size_t>(h)]));
      for (int p = first; p <= t; ++p) {
        double score = 0;
        for (int d = 0; d < s.head_dim; ++d)
          score += q.row(t)[h * s.head_dim + d] * k.row(p)[kv * s.head_dim + d];
        weight.push_back(std::exp(score / std::sqrt(s.head_dim)));
        sum += weight.back();
      }
      for (int p = first; p <= t; ++p)
        for (int d = 0; d < s.head_dim; ++d)
          out.row(t)[h * s.head_dim + d] +=
              weight[static_cast<size_t>(p - first)] / sum * v.row(p)[kv * s.head_dim + d];
    }
  return out;
}

// Frequencies between those of the pairs that turn 32 times and once in the original context, as
// the model's code computes them: pairs are not rounded.
Rope yarn_rope(const FamilyConfig& c, int head_dim) {
  const FamilyConfig scaling = c.object("rope_scaling");
  const double theta = c.number("rope_theta"), factor = scaling.number("factor");
  const double context = scaling.number("original_max_position_embeddings");
  const double pi = std::acos(-1.0), half = head_dim / 2.0;
  const double low = half * std::log(context / (32 * 2 * pi)) / std::log(theta);
  const double high = half * std::log(context / (2 * pi)) / std::log(theta);
  Rope rope;
  rope.frequencies = rope_frequencies(theta, head_dim);
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    rope.frequencies[i] *= ramp / factor + 1 - ramp;
  }
  rope.magnitude = 0.1 * std::log(factor) + 1;
  return rope;
}

Matrix experts(const Net& net, const Matrix& x, int layer) {
  const FamilyConfig& c = net.config;
  const int top = c.integer("num_experts_per_tok");
  const Matrix scores = net.linear(x, layer_name(kLayer, layer) + "mlp.router");
  Matrix out(x.rows, x.cols);
  for (int t = 0; t < x.rows; ++t) {
    Matrix row(1, x.cols);
    std::copy_n(x.row(t), x.cols, row.row(0));
    std::vector<int> order;
    for (int e = 0; e < scores.cols; ++e) order.push_back(e);
    std::ranges::sort(order, std::greater<>(), [&](int e) { return scores.row(t)[e]; });
    double sum = 0;
    for (int i = 0; i < top; ++i) sum += std::exp(scores.row(t)[order[static_cast<size_t>(i)]]);
    for (int i = 0; i < top; ++i) {
      const int e = order[static_cast<size_t>(i)];
      const Matrix gate = map(net.linear(row, expert_name("gate", layer, e)), [](double g) {
        g = std::min(g, 7.0);
        return g / (1 + std::exp(-1.702 * g));
      });
      const Matrix up = map(net.linear(row, expert_name("up", layer, e)),
                            [](double u) { return std::clamp(u, -7.0, 7.0) + 1; });
      const Matrix y = net.linear(gate * up, expert_name("down", layer, e));
      for (int d = 0; d < x.cols; ++d)
        out.row(t)[d] += std::exp(scores.row(t)[e]) / sum * y.row(0)[d];
    }
  }
  return out;
}

Matrix reference(const Net& net, const std::vector<int>& tokens) {
  const FamilyConfig& c = net.config;
  const Shapes s(c);
  const double eps = c.number("rms_norm_eps");
  const Rope rope = yarn_rope(c, s.head_dim);
  Matrix x = net.embed(tokens, "model.embed_tokens");
  for (int i = 0; i < s.layers; ++i) {
    const std::string layer = layer_name(kLayer, i), at = layer + "self_attn.";
    const Matrix h = net.rms_norm(x, layer + "input_layernorm", eps);
    const Matrix q = rotate(net.linear(h, at + "q_proj"), s.head_dim, rope);
    const Matrix k = rotate(net.linear(h, at + "k_proj"), s.head_dim, rope);
    const int window = i % 2 == 0 ? c.integer("sliding_window") : 0;
    const Matrix mixed =
        attend_with_sinks(q, k, net.linear(h, at + "v_proj"), s, window, net.at(at + "sinks"));
    x = x + net.linear(mixed, at + "o_proj");
    x = x + experts(net, net.rms_norm(x, layer + "post_attention_layernorm", eps), i);
  }
  return net.linear(net.rms_norm(x, "model.norm", eps), "lm_head");
}

std::string gguf(const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  const int n_experts = c.integer("num_local_experts");
  GgufWriter out("gpt-oss", tensors);
  write_common_keys(out, c);
  out.u32("expert_count", n_experts).u32("expert_used_count", c.integer("num_experts_per_tok"));
  out.u32("expert_feed_forward_length", s.ffn);
  out.u32("attention.sliding_window", c.integer("sliding_window"));
  copy_ends(out);
  copy_attention(out, s.layers);
  out.copy_layers(s.layers, {{"blk.#.attn_norm", kLayer + "input_layernorm"},
                             {"blk.#.post_attention_norm", kLayer + "post_attention_layernorm"},
                             {"blk.#.ffn_gate_inp", kLayer + "mlp.router"}});
  for (int i = 0; i < s.layers; ++i) {
    const std::string to = layer_name("blk.#.", i);
    out.tensor(to + "attn_sinks.weight", out.source(layer_name(kLayer, i) + "self_attn.sinks"));
    for (const char* part : kParts)
      for (const char* kind : {".weight", ".bias"}) {
        std::vector<const Tensor*> all;
        for (int e = 0; e < n_experts; ++e)
          all.push_back(&out.source(expert_name(part, i, e) + kind));
        out.tensor(to + "ffn_" + part + "_exps" + kind, stacked(all));
      }
  }
  return out.build();
}

// Rows of the tensors in turns, and experts one after the other; at last blocks and scales.
struct Experts {
  std::string blocks, scales, bias;
  void add(const Tensors& tensors, const std::vector<std::string>& names) {
    const Tensor& first = tensors.at(names.front() + ".weight");
    const size_t rows = first.shape[0], cols = first.shape[1];
    for (size_t row = 0; row < rows; ++row)
      for (const std::string& name : names) {
        const float* from = tensors.at(name + ".weight").data.data() + row * cols;
        for (size_t k = 0; k < cols; k += 32) {
          const int exponent = exponent_of(from + k);
          scales += static_cast<char>(exponent + 127);
          const auto code = [&](size_t i) {
            return code_of(static_cast<double>(from[k + i]) / std::exp2(exponent));
          };
          for (size_t i = 0; i < 32; i += 2)
            blocks += static_cast<char>(code(i) | code(i + 1) << 4);
        }
        bias += raw(tensors.at(name + ".bias").data[row]);
      }
  }
};

void publish(const std::string& directory, const FamilyConfig& c, const Tensors& tensors) {
  const Shapes s(c);
  const auto n_experts = static_cast<uint64_t>(c.integer("num_local_experts"));
  const auto dim = static_cast<uint64_t>(s.dim), ffn = static_cast<uint64_t>(s.ffn);
  StoredTensors stored;
  for (const auto& [name, t] : tensors)
    if (name.find(".experts.") == name.npos)
      stored.push_back({name, DType::f32, t.shape, bytes_of(t.data)});
  for (int i = 0; i < s.layers; ++i) {
    Experts gate_up, down;
    for (int e = 0; e < static_cast<int>(n_experts); ++e) {
      gate_up.add(tensors, {expert_name("gate", i, e), expert_name("up", i, e)});
      down.add(tensors, {expert_name("down", i, e)});
    }
    const auto store = [&](const char* part, const Experts& all, uint64_t rows, uint64_t cols) {
      const std::string name = layer_name(kExperts, i) + part + "_proj_";
      stored.push_back({name + "blocks", DType::u8, {n_experts, rows, cols / 32, 16}, all.blocks});
      stored.push_back({name + "scales", DType::u8, {n_experts, rows, cols / 32}, all.scales});
      stored.push_back({name + "bias", DType::f32, {n_experts, rows}, all.bias});
    };
    store("gate_up", gate_up, 2 * ffn, dim);
    store("down", down, dim, ffn);
  }
  std::filesystem::create_directories(directory);
  write_file(directory + "/model.safetensors", safetensors_of(stored));
  write_file(directory + "/config.json", c.text());
}

const FamilyConfig kGptOss(R"({"architectures":["GptOssForCausalLM"],"attention_bias":true,
  "eos_token_id":2,"experts_per_token":2,"head_dim":24,"hidden_act":"silu","hidden_size":64,
  "initial_context_length":16,"intermediate_size":96,"max_position_embeddings":512,
  "model_type":"gpt_oss","num_attention_heads":4,"num_experts_per_tok":2,"num_hidden_layers":3,
  "num_key_value_heads":2,"num_local_experts":5,"quantization_config":{
  "modules_to_not_convert":["model.layers.*.self_attn","model.layers.*.mlp.router",
  "model.embed_tokens","lm_head"],"quant_method":"mxfp4"},"rms_norm_eps":1e-05,
  "rope_scaling":{"beta_fast":32.0,"beta_slow":1.0,"factor":32.0,
  "original_max_position_embeddings":1024,"rope_type":"yarn","truncate":false},
  "rope_theta":1500,"sliding_window":9,"swiglu_limit":7.0,"tie_word_embeddings":false,
  "vocab_size":91})");

}  // namespace

std::vector<FamilyCase> gpt_oss_cases() {
  return {{"gpt-oss", kGptOss, make, reference, gguf, publish}};
}

}  // namespace nibble::test
