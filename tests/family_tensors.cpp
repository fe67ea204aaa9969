#include "family_tensors.h"

#include <cmath>
#include <filesystem>

#include "check.h"
#include "stored_tensors.h"

namespace nibble::test {
namespace {

constexpr const char* kWhere = "the test's config.json";

uint64_t count(const std::vector<uint64_t>& shape) {
  uint64_t n = 1;
  for (const uint64_t extent : shape) n *= extent;
  return n;
}

}  // namespace

FamilyConfig::FamilyConfig(const std::string& text) : json_(parse_json(text, kWhere)) {}

FamilyConfig FamilyConfig::with(const std::string& changes) const {
  Json::Object out = json_.as_object(kWhere);
  const Json changed = parse_json(changes, kWhere);
  for (const Json::Member& added : changed.as_object(kWhere)) {
    std::erase_if(out, [&](const Json::Member& member) { return member.first == added.first; });
    out.push_back(added);
  }
  return FamilyConfig(std::move(out));
}

FamilyConfig FamilyConfig::without(const std::string& key) const {
  Json::Object out = json_.as_object(kWhere);
  std::erase_if(out, [&](const Json::Member& member) { return member.first == key; });
  return FamilyConfig(std::move(out));
}

const Json& FamilyConfig::at(const std::string& key) const {
  const Json* value = json_.find(key);
  if (!value) fail("the test's config.json has no " + key);
  return *value;
}

bool FamilyConfig::has(const std::string& key) const {
  const Json* value = json_.find(key);
  return value && !value->is_null();
}
int FamilyConfig::integer(const std::string& key) const {
  return static_cast<int>(at(key).as_int(key));
}
int FamilyConfig::integer(const std::string& key, int absent) const {
  return has(key) ? integer(key) : absent;
}
double FamilyConfig::number(const std::string& key) const { return at(key).as_number(key); }
double FamilyConfig::number(const std::string& key, double absent) const {
  return has(key) ? number(key) : absent;
}
bool FamilyConfig::flag(const std::string& key, bool absent) const {
  return has(key) ? at(key).as_bool(key) : absent;
}
std::string FamilyConfig::string(const std::string& key, const std::string& absent) const {
  return has(key) ? at(key).as_string(key) : absent;
}
std::vector<double> FamilyConfig::numbers(const std::string& key) const {
  std::vector<double> out;
  for (const Json& value : at(key).as_array(key)) out.push_back(value.as_number(key));
  return out;
}
std::vector<std::string> FamilyConfig::strings(const std::string& key) const {
  std::vector<std::string> out;
  for (const Json& value : at(key).as_array(key)) out.push_back(value.as_string(key));
  return out;
}
FamilyConfig FamilyConfig::object(const std::string& key) const {
  return FamilyConfig(at(key).as_object(key));
}

std::string layer_name(std::string name, int layer) {
  const size_t at = name.find('#');
  return at == std::string::npos ? name : name.replace(at, 1, std::to_string(layer));
}

// splitmix64 (Steele, Lea and Flood, 2014).
double TensorMaker::uniform() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return (static_cast<double>(z >> 11) + 0.5) * 0x1p-52 - 1;
}

void TensorMaker::vector(const std::string& name, int n, double center, double spread) {
  Tensor& t = tensors[name];
  t.shape = {static_cast<uint64_t>(n)};
  for (int i = 0; i < n; ++i) t.data.push_back(static_cast<float>(center + spread * uniform()));
}

void TensorMaker::matrix(const std::string& name, int rows, int cols, double gain) {
  vector(name, rows * cols, 0, gain * std::sqrt(3.0 / cols));
  tensors[name].shape = {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)};
}

void TensorMaker::linear(const std::string& prefix, int rows, int cols, bool with_bias) {
  matrix(prefix + ".weight", rows, cols);
  if (with_bias) bias(prefix + ".bias", rows);
}

void TensorMaker::layer_norm(const std::string& prefix, int n, bool with_bias) {
  norm(prefix + ".weight", n);
  if (with_bias) bias(prefix + ".bias", n);
}

void TensorMaker::constant(const std::string& name, const std::vector<uint64_t>& shape,
                           float value) {
  tensors[name] = {shape, std::vector<float>(count(shape), value)};
}

void write_hugging_face(const std::string& directory, const FamilyConfig& config,
                        const Tensors& tensors) {
  std::filesystem::create_directories(directory);
  StoredTensors stored;
  for (const auto& [name, t] : tensors)
    stored.push_back({name, DType::f32, t.shape, bytes_of(t.data)});
  write_file(directory + "/model.safetensors", safetensors_of(stored));
  write_file(directory + "/config.json", config.text());
}

GgufWriter::GgufWriter(std::string architecture, const Tensors& source)
    : architecture_(std::move(architecture)), source_(source) {
  gguf_.string("general.architecture", architecture_);
}
GgufWriter& GgufWriter::u32(const std::string& key, int64_t value) {
  gguf_.u32(architecture_ + "." + key, static_cast<uint32_t>(value));
  return *this;
}
GgufWriter& GgufWriter::f32(const std::string& key, double value) {
  gguf_.f32(architecture_ + "." + key, static_cast<float>(value));
  return *this;
}
GgufWriter& GgufWriter::boolean(const std::string& key, bool value) {
  gguf_.key(architecture_ + "." + key, GgufValue::boolean, raw<uint8_t>(value ? 1 : 0));
  return *this;
}
GgufWriter& GgufWriter::booleans(const std::string& key, const std::vector<bool>& values) {
  std::vector<std::string> elements;
  for (const bool value : values) elements.push_back(raw<uint8_t>(value ? 1 : 0));
  gguf_.key(architecture_ + "." + key, GgufValue::array,
            GgufBuilder::array(GgufValue::boolean, elements));
  return *this;
}
GgufWriter& GgufWriter::string(const std::string& key, const std::string& value) {
  gguf_.string(architecture_ + "." + key, value);
  return *this;
}

void GgufWriter::tensor(const std::string& name, const Tensor& tensor) {
  gguf_.tensor(name, 0, {tensor.shape.rbegin(), tensor.shape.rend()}, bytes_of(tensor.data));
}

const Tensor* GgufWriter::find_source(const std::string& name) const {
  const auto found = source_.find(name);
  return found == source_.end() ? nullptr : &found->second;
}

const Tensor& GgufWriter::source(const std::string& name) const {
  const Tensor* found = find_source(name);
  if (!found) fail("the test's checkpoint has no " + name);
  return *found;
}

void GgufWriter::copy(const std::string& to, const std::string& from) {
  bool any = false;
  for (const char* part : {".weight", ".bias"})
    if (const Tensor* t = find_source(from + part)) {
      tensor(to + part, *t);
      any = true;
    }
  if (!any) fail("the test's checkpoint has no " + from);
}

void GgufWriter::copy_layers(int n_layers,
                             const std::vector<std::pair<std::string, std::string>>& to_from) {
  for (int layer = 0; layer < n_layers; ++layer)
    for (const auto& [to, from] : to_from) copy(layer_name(to, layer), layer_name(from, layer));
}

Tensor pick_rows(const Tensor& w, const std::vector<int>& order) {
  const size_t width = w.data.size() / w.shape[0];
  Tensor out;
  out.shape = w.shape;
  out.shape[0] = order.size();
  for (const int row : order) {
    const auto from = w.data.begin() + static_cast<long>(static_cast<size_t>(row) * width);
    out.data.insert(out.data.end(), from, from + static_cast<long>(width));
  }
  return out;
}

Tensor halves_to_pairs(const Tensor& w, int n_heads) {
  const int head_dim = static_cast<int>(w.shape[0]) / n_heads;
  std::vector<int> order;
  for (int head = 0; head < n_heads; ++head)
    for (int i = 0; i < head_dim / 2; ++i) {
      order.push_back(head * head_dim + i);
      order.push_back(head * head_dim + i + head_dim / 2);
    }
  return pick_rows(w, order);
}

Tensor take_rows(const Tensor& w, uint64_t begin, uint64_t count) {
  std::vector<int> order;
  for (uint64_t i = 0; i < count; ++i) order.push_back(static_cast<int>(begin + i));
  return pick_rows(w, order);
}

Tensor transposed(const Tensor& w) {
  Tensor out;
  out.shape = {w.shape[1], w.shape[0]};
  for (uint64_t c = 0; c < w.shape[1]; ++c)
    for (uint64_t r = 0; r < w.shape[0]; ++r) out.data.push_back(w.data[r * w.shape[1] + c]);
  return out;
}

Tensor plus(const Tensor& w, float value) {
  Tensor out = w;
  for (float& x : out.data) x += value;
  return out;
}

Tensor stacked(const std::vector<const Tensor*>& parts) {
  Tensor out;
  out.shape = parts.front()->shape;
  out.shape.insert(out.shape.begin(), parts.size());
  for (const Tensor* part : parts)
    out.data.insert(out.data.end(), part->data.begin(), part->data.end());
  return out;
}

std::vector<int> grouped_qkv_order(int n_kv_heads, int q_per_kv, int head_dim) {
  std::vector<int> order;
  const auto head = [&](int group, int at) {
    for (int i = 0; i < head_dim; ++i)
      order.push_back((group * (q_per_kv + 2) + at) * head_dim + i);
  };
  for (int group = 0; group < n_kv_heads; ++group)
    for (int at = 0; at < q_per_kv; ++at) head(group, at);
  for (const int at : {q_per_kv, q_per_kv + 1})
    for (int group = 0; group < n_kv_heads; ++group) head(group, at);
  return order;
}

}  // namespace nibble::test
