#include "args.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <utility>

#include "base/number.h"
#include "console.h"
#include "text_input.h"

namespace nibble::tools {
namespace {

namespace fs = std::filesystem;

std::vector<std::string_view> split_names(std::string_view names) {
  std::vector<std::string_view> result;
  while (!names.empty()) {
    const size_t end = std::min(names.find(','), names.size());
    result.push_back(names.substr(0, end));
    names.remove_prefix(std::min(names.size(), names.find_first_not_of(", ", end)));
  }
  return result;
}

bool has_name(const Flag& flag, std::string_view name) {
  return std::ranges::count(split_names(flag.names), name) > 0;
}

/// Whether the value of a flag may be left out, and what it then may be: "[on|off|auto]".
bool is_optional(const Flag& flag) { return flag.value.starts_with('['); }
bool is_choice(const Flag& flag, std::string_view value) {
  const std::string words = "|" + flag.value.substr(1, flag.value.size() - 2) + "|";
  return words.find("|" + std::string(value) + "|") != std::string::npos;
}

/// The number that is the whole of `text`, or nothing.
template <class Number>
std::optional<Number> whole_number(const std::string& text) {
  Number value{};
  if constexpr (std::is_integral_v<Number>) {
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end) return std::nullopt;
  } else {
    const std::optional<double> number = parse_double(text);
    if (!number || std::abs(*number) > std::numeric_limits<float>::max()) return std::nullopt;
    value = static_cast<float>(*number);
  }
  return value;
}

std::string shown(uint64_t value) { return std::to_string(value); }
std::string shown(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(value));
  return text;
}
std::string shown(int value) { return std::to_string(value); }

template <class Number>
Number parse_number(const std::string& text, Number low, Number high, const char* what) {
  const std::optional<Number> value = whole_number<Number>(text);
  // NaN is outside of every range.
  if (value && *value >= low && *value <= high) return *value;
  const bool open = high == std::numeric_limits<Number>::max();
  throw UsageError("\"" + text + "\" is not " + what + ", " + shown(low) +
                   (open ? " or more" : " to " + shown(high)));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// Letters to insert, drop, replace or swap with their neighbour to turn a into b.
size_t edit_distance(std::string_view a, std::string_view b) {
  // distance[i][j]: of the first i letters of a and the first j of b
  std::vector<std::vector<size_t>> distance(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      size_t& best = distance[i][j];
      best = std::max(i, j);
      if (i == 0 || j == 0) continue;
      best = std::min({distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1),
                       distance[i - 1][j] + 1, distance[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        best = std::min(best, distance[i - 2][j - 2] + 1);
    }
  }
  return distance[a.size()][b.size()];
}

/// Draws the share done on standard error, once it has taken a while.
class ProgressBar {
 public:
  explicit ProgressBar(std::string title) : title_(std::move(title)) {}
  ~ProgressBar() {
    if (shown_ >= 0) wipe_progress_bar();
  }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  bool update(double done) {
    const int percent = static_cast<int>(100 * std::clamp(done, 0.0, 1.0));
    if (percent == shown_ || std::chrono::steady_clock::now() - start_ < kDelay) return true;
    shown_ = percent;
    constexpr int kWidth = 30;
    const auto filled = static_cast<size_t>(percent * kWidth / 100);
    const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
    std::fprintf(stderr, "\r%s [%s] %3d%%", title_.c_str(), bar.c_str(), percent);
    return true;
  }

 private:
  static constexpr std::chrono::seconds kDelay{1};
  std::string title_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int shown_ = -1;
};

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string_view> known) {
  std::string_view best;
  // A third of the letters may differ, but one always may.
  size_t limit = std::max<size_t>(1, word.size() / 3) + 1;
  if (word.size() <= 2 || word.size() > 64) return {};  // any letter is near to any other
  for (const std::string_view candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance >= limit) continue;
    limit = distance;
    best = candidate;
  }
  return std::string(best);
}

Flags::Flags(std::string synopsis, std::string about)
    : synopsis_(std::move(synopsis)), about_(std::move(about)) {}

void Flags::add(Flag flag) {
  for (const std::string_view name : split_names(flag.names)) {
    for (Row& row : rows_) {
      if (!has_name(row.flag, name)) continue;
      row.flag = std::move(flag);
      return;
    }
  }
  rows_.push_back({{}, std::move(flag)});
}

void Flags::section(std::string title) { rows_.push_back({std::move(title), {}}); }

const Flag& Flags::find(std::string_view name) const {
  std::vector<std::string_view> known = {"--help"};
  for (const Row& row : rows_) {
    if (has_name(row.flag, name)) return row.flag;
    for (const std::string_view n : split_names(row.flag.names)) known.push_back(n);
  }
  const std::string similar = nearest(name, known);
  throw UsageError("unknown flag " + std::string(name) + " (" +
                   (similar.empty() ? "--help lists them" : "did you mean " + similar + "?") + ")");
}

std::optional<std::vector<std::string>> Flags::parse(std::span<const std::string> args) {
  std::vector<std::string> rest;
  std::vector<const Flag*> given;
  const auto set = [](const Flag& flag, const std::string& name, const std::string& value) {
    try {
      flag.set(value);
    } catch (const UsageError& e) {
      throw UsageError(name + ": " + e.what());
    }
  };
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "--") {
      rest.insert(rest.end(), args.begin() + static_cast<std::ptrdiff_t>(i) + 1, args.end());
      break;
    }
    if (arg.size() < 2 || arg[0] != '-') {
      rest.push_back(arg);
      continue;
    }
    const size_t equals = std::min(arg.find('='), arg.size());
    const std::string name = arg.substr(0, equals);
    if (name == "-h" || name == "--help") {
      if (equals < arg.size()) throw UsageError(name + " takes no value");
      std::fputs(help().c_str(), stdout);
      return std::nullopt;
    }
    const Flag& flag = find(name);
    std::string value;
    if (equals < arg.size()) {
      if (flag.value.empty()) throw UsageError(name + " takes no value");
      value = arg.substr(equals + 1);
      if (is_optional(flag) && !is_choice(flag, value))
        throw UsageError(name + ": \"" + value + "\" is none of " +
                         flag.value.substr(1, flag.value.size() - 2));
    } else if (is_optional(flag)) {
      if (i + 1 < args.size() && is_choice(flag, args[i + 1])) value = args[++i];
    } else if (!flag.value.empty()) {
      if (i + 1 == args.size()) throw UsageError(name + " needs a value: " + flag.value);
      value = args[++i];
    }
    set(flag, name, value);
    given.push_back(&flag);
  }
  for (const Row& row : rows_) {  // a flag wins over its variable, which then may be anything
    if (!row.flag.variable || std::ranges::count(given, &row.flag) > 0) continue;
    const std::string value = environment(row.flag.variable);
    if (!value.empty()) set(row.flag, row.flag.variable, value);
  }
  return rest;
}

std::string Flags::help() const {
  constexpr size_t kColumn = 34;  // where the explanations begin
  std::string text = "usage: nibble " + synopsis_ + "\n\n" + about_ + "\n";
  bool first = true;
  for (const Row& row : rows_) {
    if (!row.title.empty()) {
      text += "\n" + row.title + ":\n";
      first = false;
      continue;
    }
    if (first) text += "\n";
    first = false;
    std::string line = "  " + row.flag.names;
    if (!row.flag.value.empty()) line += " " + row.flag.value;
    if (line.size() + 2 > kColumn) {
      text += line + "\n";
      line.clear();
    }
    line.resize(kColumn, ' ');
    text += line + row.flag.help;
    if (!row.flag.shown_default.empty()) text += " (default " + row.flag.shown_default + ")";
    text += "\n";
  }
  return text;
}

std::function<void(const std::string&)> to_int(int& target, int low, int high) {
  return [&target, low, high](const std::string& value) {
    target = parse_number(value, low, high, "a whole number");
  };
}

std::function<void(const std::string&)> to_float(float& target, float low, float high) {
  return [&target, low, high](const std::string& value) {
    target = parse_number(value, low, high, "a number");
  };
}

std::function<void(const std::string&)> to_string(std::string& target) {
  return [&target](const std::string& value) { target = value; };
}

std::function<void(const std::string&)> to_path(std::string& target) {
  return [&target](const std::string& value) {
    if (value.empty()) throw UsageError("the path is empty");
    target = value;
  };
}

std::function<void(const std::string&)> to_switch(bool& target, bool value) {
  return [&target, value](const std::string&) { target = value; };
}

std::function<void(const std::string&)> to_group(int& target) {
  return to_choice<int>(target, {{"32", 32}, {"64", 64}, {"128", 128}});
}

std::function<void(const std::string&)> to_weight_type(WeightType& target) {
  return to_choice<WeightType>(target, {{"auto", WeightType::automatic},
                                        {"q4", WeightType::q4},
                                        {"q8", WeightType::q8},
                                        {"f16", WeightType::f16},
                                        {"f32", WeightType::f32}});
}

std::function<void(const std::string&)> to_kv_type(KvType& target) {
  return to_choice<KvType>(target,
                           {{"f16", KvType::f16}, {"q8_0", KvType::q8_0}, {"f32", KvType::f32}});
}

std::function<void(const std::string&)> to_chat_template(TemplateOption& target) {
  return [&target](const std::string& value) {
    const std::vector<std::string> names = chat_template_names();
    target = {value, ""};
    if (std::ranges::count(names, value) > 0) return;
    std::error_code ignored;
    if (!fs::exists(value, ignored)) {
      std::string list;
      for (const std::string& name : names) list.append(list.empty() ? "" : ", ").append(name);
      throw UsageError("\"" + value + "\" is neither a known name nor a file (known: " + list +
                       ")");
    }
    target = {read_text_file(value), value};
    if (target.text.empty()) throw Error(value, "is empty, expected a chat template");
  };
}

Error naming_template(const Error& error, const TemplateOption& option) {
  const bool in_file = !option.file.empty() && error.where() == "chat template";
  return in_file ? Error(option.file, error.why(), error.hint()) : error;
}

void add_model_flags(Flags& flags, CommonOptions& options) {
  ModelOptions& model = options.model;
  flags.section("model");
  flags.add({"-m, --model", "MODEL", "file or Hugging Face directory; also $NIBBLE_MODEL",
             "the bundled model", to_path(options.model_path)});
  flags.add({"-t, --threads", "N", "threads of decode; 0: all suitable cores; also $NIBBLE_THREADS",
             "0", to_int(model.threads, 0, kMaxThreads), "NIBBLE_THREADS"});
  flags.add({"-tb, --threads-batch", "N", "threads of prefill; 0: as -t", "0",
             to_int(model.threads_batch, 0, kMaxThreads)});
  flags.add({"--isa", "NAME", "kernels: scalar, avx2, avx512, neon, ...; also $NIBBLE_ISA",
             "the best", to_string(model.isa), "NIBBLE_ISA"});
  flags.add({"--weights", "TYPE", "what unquantized weights become: auto, q4, q8, f16, f32", "auto",
             to_weight_type(model.weights)});
  flags.add({"--activations", "TYPE", "auto, int8, f32 (exact and slow, for checking)", "auto",
             to_choice<Activations>(model.activations, {{"auto", Activations::automatic},
                                                        {"int8", Activations::int8},
                                                        {"f32", Activations::f32}})});
  flags.add({"--mlock", "", "lock the weights in memory", "", to_switch(model.mlock)});
  flags.add({"-v, --verbose", "", "say what is loaded and used", "", to_switch(options.verbose)});
  flags.add({"--no-color", "", "no colours; also $NO_COLOR", "", to_switch(options.no_color)});
  flags.add({"-i, --interactive", "", "no effect: a terminal makes a chat interactive", "",
             [](const std::string&) {}});
  flags.add({"-cnv, --conversation, --jinja", "", "no effect: a chat has the model's template", "",
             [](const std::string&) {}});
  flags.add({"-no-cnv, --no-conversation", "", "no effect: `nibble complete` is without one", "",
             [](const std::string&) {}});
  flags.add({"-fa, --flash-attn", "[on|off|auto]", "no effect: there is one way of attention", "",
             [](const std::string&) {}});
  flags.add({"-ub, --ubatch-size", "N", "no effect: see -b", "", [](const std::string&) {}});
  flags.add({"-ngl, --gpu-layers, --n-gpu-layers", "N", "no effect: there is no GPU to use", "",
             [](const std::string&) {}});
}

void add_session_flags(Flags& flags, CommonOptions& options) {
  constexpr int kMax = std::numeric_limits<int>::max();
  SessionOptions& session = options.session;
  flags.section("context");
  flags.add(
      {"-c, --ctx-size", "N", "positions; 0: the model's", "0", to_int(session.context, 0, kMax)});
  flags.add({"-b, --batch-size", "N", "tokens computed together in prefill",
             std::to_string(session.batch), to_int(session.batch, 1, kMax)});
  add_kv_flags(flags, options);
}

void add_kv_flags(Flags& flags, CommonOptions& options) {
  SessionOptions& session = options.session;
  // Both have the same type for now: one flag sets both, and the other must agree.
  const auto kv_type = [](KvType& mine, bool& given, KvType& other, const bool& other_given) {
    return [&, set = to_kv_type(mine)](const std::string& value) {
      set(value);
      given = true;
      if (!other_given) other = mine;
      if (other != mine) throw UsageError("keys and values have the same type for now");
    };
  };
  flags.add({"-ctk, --cache-type-k", "TYPE", "of the KV cache's keys: f16, q8_0, f32", "f16",
             kv_type(session.k_type, options.k_type_given, session.v_type, options.v_type_given)});
  flags.add({"-ctv, --cache-type-v", "TYPE", "of its values; both have the same type", "f16",
             kv_type(session.v_type, options.v_type_given, session.k_type, options.k_type_given)});
}

namespace {

/// A flag that changes one member of the sampling, now and in merged_sampling().
template <class Number>
Flag sampling_flag(CommonOptions& options, const char* names, const char* help,
                   Number SamplerOptions::*member, Number low, Number high) {
  const char* what = std::is_integral_v<Number> ? "a whole number" : "a number";
  return {names, "N", help, shown(options.sampling.*member),
          [=, &options](const std::string& text) {
            const Number value = parse_number(text, low, high, what);
            options.sampling.*member = value;
            options.sampling_changes.push_back([=](SamplerOptions& o) { o.*member = value; });
          }};
}

}  // namespace

void add_sampling_flags(Flags& flags, CommonOptions& options) {
  using O = SamplerOptions;
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr int kMaxInt = std::numeric_limits<int>::max();
  flags.section("sampling (a model's own recommendation goes before these defaults)");
  flags.add(sampling_flag(options, "--temp", "temperature; 0: greedy, reproducible",
                          &O::temperature, 0.0f, kMax));
  flags.add(
      sampling_flag(options, "--top-k", "of the N best tokens; 0: off", &O::top_k, 0, kMaxInt));
  flags.add(sampling_flag(options, "--top-p", "of the best tokens with this mass; 1: off",
                          &O::top_p, 0.0f, 1.0f));
  flags.add(sampling_flag(options, "--min-p", "at least this share of the best one; 0: off",
                          &O::min_p, 0.0f, 1.0f));
  flags.add(sampling_flag(options, "--repeat-penalty", "of recent tokens; 1: off",
                          &O::repeat_penalty, 0.01f, kMax));
  flags.add(sampling_flag(options, "--repeat-last-n", "tokens it looks back; 0: none, -1: all",
                          &O::repeat_last_n, -1, kMaxInt));
  flags.add({"-s, --seed", "N", "of the random choice; -1: a new one each time", "-1",
             [&options](const std::string& text) {
               std::optional<uint64_t> seed;
               if (text != "-1") {
                 seed = parse_number(text, uint64_t{0}, std::numeric_limits<uint64_t>::max(),
                                     "-1 or a whole number");
               }
               options.sampling.seed = seed;
               options.sampling_changes.push_back([seed](SamplerOptions& o) { o.seed = seed; });
             }});
}

SamplerOptions merged_sampling(const Model& model, const CommonOptions& options) {
  SamplerOptions sampling = model.default_sampling();
  for (const auto& change : options.sampling_changes) change(sampling);
  return sampling;
}

Progress progress_bar(const std::string& title) {
  if (!::isatty(STDERR_FILENO)) return {};
  return [bar = std::make_shared<ProgressBar>(title)](double done) { return bar->update(done); };
}

void wipe_progress_bar() {
  if (::isatty(STDERR_FILENO)) std::fputs("\r\x1b[K", stderr);
}

Model load_model(const std::string& path, const CommonOptions& options) {
  ModelOptions model = options.model;
  if (!model.progress) model.progress = progress_bar("loading");
  const Model loaded(path, model);
  wipe_progress_bar();
  if (options.verbose) print_model(path, loaded, options);
  return loaded;
}

}  // namespace nibble::tools
