// The settings of a model, from config.json or from GGUF metadata (which is given as JSON here, and
// known by "general.architecture"). An input is their text, or "S" and bytes that say which seed it
// is and which of its members are replaced by what.
#include <cmath>

#include "family_cases.h"
#include "fuzz/fuzz.h"
#include "load/json.h"
#include "model/config_fields.h"
#include "model/config_reader.h"
#include "model/rope.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr uint64_t kRows = 91, kCols = 64;

Checkpoint checkpoint_of(Json settings) {
  static const std::vector<std::byte> zeros(kRows * kCols * sizeof(float));
  Checkpoint out;
  out.path = "model";
  if (settings.find("general.architecture")) {
    out.format = FileFormat::gguf;
    out.metadata = std::move(settings);
    out.tensors.push_back({"token_embd.weight", DType::f32, {kRows, kCols}, zeros});
  } else {
    out.format = FileFormat::hugging_face;
    out.metadata = Json(Json::Object{{"config", std::move(settings)}});
  }
  out.index_tensors();
  return out;
}

void require(bool ok) {
  if (!ok) std::abort();
}

// What later code builds on.
void check_config(const Config& c) {
  require(c.n_layers > 0 && c.n_heads % c.n_kv_heads == 0 && c.rope_dim <= c.head_dim);
  require(c.n_experts == 0 || (c.n_experts_used > 0 && c.n_experts_used <= c.n_experts));
  for (int layer = 0; layer < c.n_layers; ++layer)
    require(!has_window(c, layer) || c.sliding_window > 0);
  if (c.positions == Positions::rope)
    for (const int context : {1, 4097, 1 << 26})
      for (const bool local : {false, true})
        if (!local || c.rope_local_theta > 0)
          for (const double f : rope_frequencies(c, context, local)) require(std::isfinite(f));
  // What a .nib file stores says the same.
  const std::string text = config_to_json(c, {});
  const Json json = parse_json(text, "config");
  require(config_to_json(config_from_object(Fields(json, "config")), {}) == text);
}

// Bytes, one after the other; zeros after the last.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  size_t below(size_t n) { return n == 0 ? 0 : next() % n; }
  uint8_t next() { return at_ < size_ ? data_[at_++] : uint8_t{0}; }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

const std::vector<Json>& settings() {
  static const std::vector<Json> all = [] {
    std::vector<Json> out;
    for (const std::string& seed : fuzz_seeds())
      if (seed.front() == '{') out.push_back(parse_json(seed, "seed"));
    return out;
  }();
  return all;
}

Json awkward(Bytes& bytes) {
  static const Json values = parse_json(
      R"([0, 1, -1, 2, 3, 64, 1e-30, 1e30, 1e300, -1e300, 0.5, 1.5, null, true, false, [], {}, "",
        "linear", [0, 1], 16777216, 16777217, 2147483647, 2147483648, 9223372036854775807,
        67108864, [1, 2, 3], ["sliding_attention", "full_attention", "full_attention"],
        {"rope_type": "yarn", "factor": 4.0}, "relu", [[]], 10001, 4096])",
      "values");
  const Json::Array& all = values.as_array("values");
  return all[bytes.below(all.size())];
}

// The object with one member replaced, added from another seed, or taken away; or the same within
// a member.
Json changed(const Json& object, Bytes& bytes) {
  Json::Object members = object.as_object("seed");
  const uint8_t how = bytes.next();
  if (how % 4 == 0) {
    const Json::Object& other = settings()[bytes.below(settings().size())].as_object("seed");
    members.push_back(other[bytes.below(other.size())]);
    return members;
  }
  if (members.empty()) return members;
  Json::Member& member = members[bytes.below(members.size())];
  if (member.second.is_object())
    member.second = changed(member.second, bytes);
  else if (how % 4 == 1)
    members.erase(members.begin() + (&member - members.data()));
  else
    member.second = awkward(bytes);
  return members;
}

Json structured(Bytes bytes) {
  Json out = settings()[bytes.below(settings().size())];
  while (!bytes.empty()) out = changed(out, bytes);
  return out;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const bool is_text = size == 0 || data[0] != 'S';
    Json json = is_text ? parse_json(as_text(data, size), "settings")
                        : structured(Bytes(data + 1, size - 1));
    check_config(read_config(checkpoint_of(std::move(json))));
  } catch (const Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> out = {
      R"({"general.architecture":"gemma3","gemma3.block_count":7,"gemma3.embedding_length":64,
        "gemma3.attention.head_count":4,"gemma3.feed_forward_length":80,
        "gemma3.attention.sliding_window":9,"gemma3.rope.freq_base_swa":1e4,
        "gemma3.rope.scaling.type":"linear","gemma3.rope.scaling.factor":8})",
      R"({"general.architecture":"exaone4","exaone4.block_count":2,"exaone4.embedding_length":64,
        "exaone4.attention.head_count":4,"exaone4.feed_forward_length":80,
        "exaone4.attention.sliding_window":9,
        "exaone4.attention.sliding_window_pattern":[true,false]})",
      R"({"general.architecture":"qwen3moe","qwen3moe.block_count":2,
        "qwen3moe.embedding_length":64,"qwen3moe.attention.head_count":4,
        "qwen3moe.expert_count":8,"qwen3moe.expert_used_count":2,
        "qwen3moe.expert_feed_forward_length":16,"qwen3moe.expert_gating_func":1,
        "qwen3moe.rope.scaling.type":"yarn","qwen3moe.rope.scaling.factor":4.0,
        "qwen3moe.rope.scaling.original_context_length":32})"};
  for (const FamilyCase& c : all_cases()) out.push_back(c.config.text());
  for (int i = 0; i < 256; ++i)
    out.push_back({'S', static_cast<char>(i), static_cast<char>(i * 7), static_cast<char>(i * 13),
                   static_cast<char>(i * 31), static_cast<char>(i * 5 + 2)});
  return out;
}
