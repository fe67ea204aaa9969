#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/checked.h"
#include "load/byte_reader.h"
#include "load/checkpoint.h"
#include "nibble/error.h"

namespace nibble {
namespace {

constexpr uint64_t kMaxLayers = 4096;
constexpr uint32_t kVersionedMagic = 0x616b3432;  // of the later, versioned exports

struct Header {
  uint64_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
  bool tied;  // the output head is the embedding
  uint64_t head_dim() const { return dim / n_heads; }
  uint64_t kv_dim() const { return head_dim() * n_kv_heads; }
};

Header read_header(ByteReader& bytes) {
  const std::string& where = bytes.where();
  const auto first = bytes.read<int32_t>();
  if (static_cast<uint32_t>(first) == kVersionedMagic)
    throw Error(where, "is a llama2.c file of a later version, which is not supported",
                "export it with --version 0");
  const auto positive = [&](int64_t value, int64_t most = INT64_MAX) {
    if (value < 1 || value > most)
      throw Error(where, "is no model file that Nibble knows",
                  "GGUF, .nib, llama2.c, or the directory of a Hugging Face model");
    return static_cast<uint64_t>(value);
  };
  const auto next = [&] { return positive(bytes.read<int32_t>()); };
  Header h{};
  h.dim = positive(first);
  h.hidden_dim = next();
  h.n_layers = positive(bytes.read<int32_t>(), kMaxLayers);  // a text, say, has more
  h.n_heads = next();
  h.n_kv_heads = next();
  const int64_t vocab_size = bytes.read<int32_t>();
  h.tied = vocab_size > 0;
  h.vocab_size = positive(std::abs(vocab_size));
  h.seq_len = next();
  if (h.dim % h.n_heads != 0 || h.n_heads % h.n_kv_heads != 0)
    throw Error(where, "no llama2.c model has " + std::to_string(h.n_layers) + " layers of " +
                           std::to_string(h.dim) + " columns, " + std::to_string(h.n_heads) +
                           " heads and " + std::to_string(h.n_kv_heads) + " KV heads");
  return h;
}

// The arrays of the file in its order; a layer's array holds that of all layers.
struct ArraySpec {
  const char* name;
  bool per_layer;
  std::vector<uint64_t> shape;  // row-major; of one layer
};

std::vector<ArraySpec> arrays(const Header& h) {
  const uint64_t rope = h.seq_len * (h.head_dim() / 2);
  std::vector<ArraySpec> specs = {
      {"token_embd", false, {h.vocab_size, h.dim}},
      {"attn_norm", true, {h.dim}},
      {"attn_q", true, {h.dim, h.dim}},
      {"attn_k", true, {h.kv_dim(), h.dim}},
      {"attn_v", true, {h.kv_dim(), h.dim}},
      {"attn_output", true, {h.dim, h.dim}},
      {"ffn_norm", true, {h.dim}},
      {"ffn_gate", true, {h.hidden_dim, h.dim}},
      {"ffn_down", true, {h.dim, h.hidden_dim}},
      {"ffn_up", true, {h.hidden_dim, h.dim}},
      {"output_norm", false, {h.dim}},
      {nullptr, false, {2, rope}},  // cosines and sines of RoPE, which nobody reads
  };
  if (!h.tied) specs.push_back({"output", false, {h.vocab_size, h.dim}});
  return specs;
}

void read_tensors(const Header& h, ByteReader& bytes, Checkpoint& out) {
  const std::vector<ArraySpec> specs = arrays(h);
  const auto layers = [&](const ArraySpec& spec) { return spec.per_layer ? h.n_layers : 1; };
  const auto layer_bytes = [&](const ArraySpec& spec) {
    return tensor_bytes(DType::f32, spec.shape, bytes.where());
  };
  uint64_t total = 0;
  for (const ArraySpec& spec : specs)
    total = checked_add(total, checked_mul(layers(spec), layer_bytes(spec), bytes.where()),
                        bytes.where());
  if (total != bytes.remaining())
    throw Error::mismatch(bytes.where(), "the size of its weights",
                          std::to_string(total) + " bytes by its llama2.c header",
                          std::to_string(bytes.remaining()));
  for (const ArraySpec& spec : specs) {
    for (uint64_t layer = 0; layer < layers(spec); ++layer) {
      const auto data = bytes.take(layer_bytes(spec));
      if (!spec.name) continue;
      const std::string prefix = spec.per_layer ? "blk." + std::to_string(layer) + "." : "";
      out.tensors.push_back({prefix + spec.name + ".weight", DType::f32, spec.shape, data});
    }
  }
}

// The tokenizer file: the longest token's length, then a score, a length and the text of each. It
// does not say how many: nothing unless exactly n_tokens fill the file.
std::optional<Json> read_tokenizer(const std::string& path, uint64_t n_tokens) try {
  const MappedFile file(path);
  ByteReader bytes(file.bytes(), path);
  bytes.read<int32_t>();
  if (n_tokens > bytes.remaining() / 8) return std::nullopt;
  Json::Array tokens, scores;
  for (uint64_t i = 0; i < n_tokens; ++i) {
    scores.push_back(double{bytes.read<float>()});
    const auto length = checked_cast<uint64_t>(bytes.read<int32_t>(), path);
    tokens.push_back(std::string(bytes.take_text(length)));
  }
  if (bytes.remaining() > 0) return std::nullopt;
  return Json::Object{{"tokens", std::move(tokens)}, {"scores", std::move(scores)}};
} catch (const Error&) {  // another kind of file with such a name
  return std::nullopt;
}

// Names of the files beside `model` that can be its tokenizer, the likeliest first.
std::vector<std::filesystem::path> tokenizer_candidates(const std::filesystem::path& model,
                                                        uint64_t n_tokens) {
  std::vector<std::filesystem::path> found;
  std::error_code error;
  const auto directory = model.has_parent_path() ? model.parent_path() : ".";
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with("tok") && name.ends_with(".bin")) found.push_back(at->path());
  }
  const std::string likeliest = "tok" + std::to_string(n_tokens) + ".bin";
  std::ranges::sort(found, {}, [&](const std::filesystem::path& path) {
    return std::pair(path.filename() != likeliest, path);
  });
  return found;
}

}  // namespace

Checkpoint open_llama2c(const std::string& path) {
  Checkpoint out;
  out.format = FileFormat::llama2c;
  out.path = path;
  out.description = "llama2.c";
  MappedFile file(path);
  ByteReader bytes(file.bytes(), path);
  const Header h = read_header(bytes);
  read_tensors(h, bytes, out);
  out.files.push_back(std::move(file));
  out.index_tensors();

  const auto integer = [](uint64_t value) { return Json(static_cast<int64_t>(value)); };
  Json::Object metadata = {{"dim", integer(h.dim)},
                           {"hidden_dim", integer(h.hidden_dim)},
                           {"n_layers", integer(h.n_layers)},
                           {"n_heads", integer(h.n_heads)},
                           {"n_kv_heads", integer(h.n_kv_heads)},
                           {"vocab_size", integer(h.vocab_size)},
                           {"seq_len", integer(h.seq_len)},
                           {"tied", Json(h.tied)}};
  for (const auto& candidate : tokenizer_candidates(path, h.vocab_size)) {
    std::optional<Json> tokenizer = read_tokenizer(candidate.string(), h.vocab_size);
    if (!tokenizer) continue;
    metadata.emplace_back("tokenizer", std::move(*tokenizer));
    break;
  }
  out.metadata = std::move(metadata);
  return out;
}

}  // namespace nibble
