#include <algorithm>
#include <map>

#include "args.h"
#include "base/utf8.h"
#include "batch.h"
#include "model/config_fields.h"

namespace nibble::tools {
namespace {

struct Request {
  CommonOptions common;
  bool tensors = false;
};

/// Bytes of the tensors by type, largest first in the text.
std::map<std::string, uint64_t> bytes_by_type(const ModelInfo& info) {
  std::map<std::string, uint64_t> bytes;
  for (const ModelInfo::Tensor& tensor : info.tensors) bytes[tensor.type] += tensor.bytes;
  return bytes;
}

std::string tokenizer_text(const Model& model) {
  if (!model.has_tokenizer()) return "none";
  const Tokenizer& tokenizer = model.tokenizer();
  return tokenizer.description() + ", " + std::to_string(tokenizer.vocab_size()) + " tokens";
}

int context_of(const Model& model, const Request& request) {
  const int wanted = request.common.session.context;
  return wanted > 0 ? wanted : model.config().context_length;
}

/// A field of the config by its name in .nib files; "none" if it has its default.
std::string understood(const Config& config, std::string_view key) {
  for (const auto& [name, value] : config_to_object(config))
    if (name == key) return value.as_string(name);
  return "none";
}

/// What the other rows do not say: how the arithmetic differs from LLaMA's.
std::string differences_text(const Config& config) {
  constexpr std::string_view kElsewhere[] = {
      "architecture",   "name",           "n_layers",        "dim",
      "n_heads",        "n_kv_heads",     "head_dim",        "ffn_dim",
      "vocab_size",     "context_length", "norm_eps",        "rope_theta",
      "rope_scaling",   "sliding_window", "tied_embeddings", "n_experts",
      "n_experts_used", "window_layers"};
  std::string text;
  for (const auto& [key, value] : config_to_object(config)) {
    if (std::find(std::begin(kElsewhere), std::end(kElsewhere), key) != std::end(kElsewhere))
      continue;
    if (key == "rope_dim" && config.rope_dim == config.head_dim) continue;
    std::string part = key + " ";
    if (value.is_string()) part += value.as_string(key);
    if (value.is_number()) part += format("%g", value.as_number(key));
    if (value.is_bool()) part = (value.as_bool(key) ? "" : "no ") + key;
    if (value.is_array()) {
      const Json::Array& layers = value.as_array(key);
      const auto set = std::count_if(layers.begin(), layers.end(),
                                     [](const Json& v) { return v.as_number("layer") != 0; });
      part += std::to_string(set) + " of " + std::to_string(layers.size());
    }
    text += (text.empty() ? "" : ", ") + part;
  }
  return text.empty() ? "as LLaMA" : text;
}

Json shape_json(const Config& config) {
  Json::Object out;
  put(out, "layers", config.n_layers);
  put(out, "dim", config.dim);
  put(out, "heads", config.n_heads);
  put(out, "kv_heads", config.n_kv_heads);
  put(out, "head_dim", config.head_dim);
  put(out, "ffn_dim", config.ffn_dim);
  put(out, "vocab_size", config.vocab_size);
  put(out, "context_length", config.context_length);
  put(out, "norm_eps", static_cast<double>(config.norm_eps));
  put(out, "rope_theta", static_cast<double>(config.rope_theta));
  put(out, "rope_dim", config.rope_dim);
  put(out, "rope_scaling", understood(config, "rope_scaling"));
  put(out, "sliding_window", config.sliding_window);
  put(out, "tied_embeddings", config.tied_embeddings);
  put(out, "qkv_bias", config.qkv_bias);
  return Json(std::move(out));
}

Json memory_json(const Model& model, const SessionOptions& session, int context) {
  const uint64_t weights = model.info().weight_bytes, kv = session_bytes(model, session);
  Json::Object out;
  put(out, "context", context);
  put(out, "weights_bytes", json_count(weights));
  put(out, "session_bytes", json_count(kv));
  put(out, "total_bytes", json_count(weights + kv));
  return Json(std::move(out));
}

Json tensors_json(const ModelInfo& info) {
  Json::Array out;
  for (const ModelInfo::Tensor& tensor : info.tensors) {
    Json::Object row;
    put(row, "name", tensor.name);
    put(row, "rows", json_count(tensor.rows));
    put(row, "cols", json_count(tensor.cols));
    put(row, "type", tensor.type);
    put(row, "bytes", json_count(tensor.bytes));
    out.emplace_back(std::move(row));
  }
  return Json(std::move(out));
}

void print_json(const Model& model, const Request& request, const std::string& path) {
  const ModelInfo& info = model.info();
  Json::Object out;
  put(out, "path", path);
  put(out, "name", model.config().name);
  put(out, "format", info.format);
  put(out, "architecture", model.config().architecture);
  put(out, "shape", shape_json(model.config()));
  put(out, "config", Json(config_to_object(model.config())));
  put(out, "parameters", json_count(info.n_params));
  put(out, "file_bytes", json_count(info.file_bytes));
  put(out, "weight_bytes", json_count(info.weight_bytes));
  put(out, "decode_bytes", json_count(info.decode_bytes));
  put(out, "bits_per_weight", info.bits_per_weight);
  Json::Object types;
  for (const auto& [type, bytes] : bytes_by_type(info)) put(types, type.c_str(), json_count(bytes));
  put(out, "bytes_by_type", Json(std::move(types)));
  put(out, "tokenizer", tokenizer_text(model));
  put(out, "chat_template", info.chat_template);
  put(out, "memory", memory_json(model, request.common.session, context_of(model, request)));
  put(out, "kernels", info.kernels);
  put(out, "threads", info.threads);
  put(out, "threads_batch", info.threads_batch);
  Json::Array notes;
  for (const std::string& note : info.notes) notes.emplace_back(note);
  put(out, "notes", Json(std::move(notes)));
  if (request.tensors) put(out, "tensors", tensors_json(info));
  write_stdout(write_json(Json(std::move(out)), 2) + "\n");
}

std::string shape_text(const Config& c) {
  const auto n = [](int32_t value) { return std::to_string(value); };
  std::string text = n(c.n_layers) + " layers, " + n(c.dim) + " wide, " + n(c.n_heads) +
                     " heads of " + n(c.head_dim) + ", " + n(c.n_kv_heads) + " KV heads, FFN " +
                     n(c.ffn_dim) + ", " + n(c.vocab_size) + " tokens, context " +
                     n(c.context_length);
  if (c.n_experts > 0)
    text += ", " + n(c.n_experts) + " experts, " + n(c.n_experts_used) + " of them a token";
  if (c.sliding_window > 0) text += ", sliding window " + n(c.sliding_window);
  if (c.sliding_window > 0 && !c.window_layers.empty())
    text += " in " + std::to_string(std::count(c.window_layers.begin(), c.window_layers.end(), 1)) +
            " layers";
  if (c.tied_embeddings) text += ", tied head";
  return text;
}

std::string types_text(const ModelInfo& info) {
  std::string text;
  for (const auto& [type, bytes] : bytes_by_type(info))
    text += (text.empty() ? "" : ", ") + type + " " + bytes_text(bytes);
  return text;
}

void add_row(std::string& text, const std::string& label, const std::string& value) {
  text += label + std::string(label.size() < 14 ? 14 - label.size() : 1, ' ') +
          without_controls(value) + "\n";
}

void print_text(const Model& model, const Request& request, const std::string& path) {
  const ModelInfo& info = model.info();
  const Config& config = model.config();
  const int context = context_of(model, request);
  const uint64_t kv = session_bytes(model, request.common.session);
  std::string text;
  add_row(text, "model", config.name.empty() ? path : config.name);
  add_row(text, "format", info.format + ", " + bytes_text(info.file_bytes));
  add_row(text, "architecture", config.architecture);
  add_row(text, "shape", shape_text(config));
  if (config.positions == Positions::rope)
    add_row(text, "RoPE",
            "theta " + format("%g", static_cast<double>(config.rope_theta)) + ", scaling " +
                understood(config, "rope_scaling"));
  add_row(text, "arithmetic", differences_text(config));
  add_row(text, "parameters", count_text(info.n_params));
  add_row(text, "weights",
          bytes_text(info.weight_bytes) + ", " +
              format("%.2f bits per weight", info.bits_per_weight) + " (" + types_text(info) + ")");
  add_row(text, "read a token", bytes_text(info.decode_bytes) + " of weights");
  add_row(text, "tokenizer", tokenizer_text(model));
  add_row(text, "template", info.chat_template);
  add_row(text, "memory",
          bytes_text(info.weight_bytes) + " weights + " + bytes_text(kv) + " at context " +
              std::to_string(context) + " = " + bytes_text(info.weight_bytes + kv));
  add_row(text, "kernels",
          info.kernels + ", " + std::to_string(info.threads) + " threads, " +
              std::to_string(info.threads_batch) + " for prefill");
  for (const std::string& note : info.notes) add_row(text, "note", note);
  if (request.tensors) {
    text += "\n";
    for (const ModelInfo::Tensor& tensor : info.tensors)
      text += without_controls(tensor.name) + "  [" + std::to_string(tensor.rows) + ", " +
              std::to_string(tensor.cols) + "]  " + without_controls(tensor.type) + "  " +
              bytes_text(tensor.bytes) + "\n";
  }
  write_stdout(text);
}

}  // namespace

int run_info(std::span<const std::string> args) {
  Request request;
  Flags flags("info [MODEL]",
              "What a model is, what its weights became, and the memory it takes with a context "
              "of -c tokens.");
  flags.add({"--tensors", "", "list the tensors", "", to_switch(request.tensors)});
  flags.add({"--json", "", "print JSON", "", to_switch(request.common.json)});
  add_model_flags(flags, request.common);
  add_session_flags(flags, request.common);
  const auto arguments = flags.parse(args);
  if (!arguments) return 0;
  const std::string path = resolve_model_path(request.common, *arguments);
  const Model model = load_model(path, request.common);
  request.common.json ? print_json(model, request, path) : print_text(model, request, path);
  return 0;
}

}  // namespace nibble::tools
