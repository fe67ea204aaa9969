#include "awq/calibration.h"

#include <algorithm>
#include <optional>

#include "load/json.h"
#include "nibble/error.h"
#include "text/chat_template.h"
#include "text/messages.h"

namespace nibble {
namespace {

constexpr size_t kShortest = 2;  // tokens of a window: one alone says nothing about attention

class Windows {
 public:
  Windows(const Tokenizer& tokenizer, const CalibrationOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  void text(std::string_view text) {
    const bool bos = tokenizer_.add_bos() && tokenizer_.bos() >= 0;
    const std::vector<Token> ids = tokenizer_.encode(text);
    const size_t step = options_.window - (bos ? 1 : 0);
    for (size_t begin = 0; begin < ids.size(); begin += step) {
      std::vector<Token> window(bos ? 1 : 0, tokenizer_.bos());
      const auto first = ids.begin() + static_cast<ptrdiff_t>(begin);
      window.insert(window.end(), first,
                    first + static_cast<ptrdiff_t>(std::min(step, ids.size() - begin)));
      add(std::move(window));
    }
  }

  void line(std::string_view line, const std::string& where) {
    const Json value = parse_json(line, where);
    if (const Json* messages = value.find("messages")) {
      if (!template_) template_.emplace(tokenizer_, "");
      std::vector<Token> ids = template_->encode(read_messages(*messages, where), false);
      ids.resize(std::min(ids.size(), options_.window));
      add(std::move(ids));
    } else if (const Json* plain = value.find("text")) {
      text(plain->as_string(where));
    } else {
      throw Error(where, "expected {\"messages\": ...} or {\"text\": ...}");
    }
  }

  std::vector<std::vector<Token>> take() {
    if (windows_.empty())
      throw Error(options_.path, "holds no text to calibrate with",
                  "at least two tokens are needed");
    const size_t n = windows_.size();
    if (n <= options_.samples) return std::move(windows_);
    std::vector<std::vector<Token>> out;
    for (size_t i = 0; i < options_.samples; ++i)
      out.push_back(std::move(windows_[i * n / options_.samples]));
    return out;
  }

 private:
  void add(std::vector<Token> window) {
    if (window.size() >= kShortest) windows_.push_back(std::move(window));
  }

  const Tokenizer& tokenizer_;
  std::optional<ChatTemplate> template_;  // once a line asks for it
  const CalibrationOptions& options_;
  std::vector<std::vector<Token>> windows_;
};

}  // namespace

std::vector<std::vector<Token>> calibration_windows(std::string_view text,
                                                    const Tokenizer& tokenizer,
                                                    const CalibrationOptions& options) {
  Windows windows(tokenizer, options);
  if (!options.path.ends_with(".jsonl")) {
    windows.text(text);
    return windows.take();
  }
  for_each_line(text, [&](std::string_view line, size_t number) {
    windows.line(line, options.path + ":" + std::to_string(number));
  });
  return windows.take();
}

}  // namespace nibble
