// Tokenizers of GGUF files: the keys "tokenizer.*".
#include <algorithm>
#include <array>

#include "base/checked.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

class GgufReader {
 public:
  GgufReader(const Json& metadata, const std::string& where) : metadata_(metadata), where_(where) {}

  Vocabulary read() {
    read_tokens();
    const std::string& model = require("model").as_string(at("model"));
    if (model == "llama") {
      read_sentencepiece();
    } else if (model == "t5") {
      read_unigram();
    } else if (model == "gpt2") {
      read_byte_level();
    } else {
      throw Error(at("model"), "is " + printable(model) + ", which is not supported",
                  "\"llama\", \"gpt2\" and \"t5\" are");
    }
    read_ids();
    read_flag("add_bos_token", v_.add_bos);
    read_flag("add_eos_token", v_.add_eos);
    if (const Json* text = metadata_.find("tokenizer.chat_template"); text && text->is_string())
      v_.chat_template = text->as_string(where_);
    finish_vocabulary(v_, where_);
    return std::move(v_);
  }

 private:
  static std::string key(const char* name) { return std::string("tokenizer.ggml.") + name; }
  std::string at(const char* name) const { return where_ + ": " + key(name); }
  const Json* find(const char* name) const { return metadata_.find(key(name)); }
  const Json& require(const char* name) const {
    if (const Json* value = find(name)) return *value;
    throw Error(at(name), "is missing");
  }
  void read_flag(const char* name, bool& flag) const {
    if (const Json* value = find(name)) flag = value->as_bool(at(name));
  }

  void read_tokens() {
    for (const Json& token : require("tokens").as_array(at("tokens")))
      v_.tokens.push_back(token.as_string(at("tokens")));
    if (const Json* types = find("token_type")) {
      for (const Json& type : types->as_array(at("token_type")))
        v_.kinds.push_back(token_kind(static_cast<uint64_t>(type.as_int(at("token_type")))));
    } else {
      v_.kinds.resize(v_.tokens.size());
    }
  }

  void read_sentencepiece() {
    v_.kind = TokenizerKind::sentencepiece_bpe;
    read_scores();
    const auto none_beyond = [&](Token id) {
      return static_cast<size_t>(id) < v_.tokens.size() ? id : -1;
    };
    v_.unk = none_beyond(0);
    v_.bos = none_beyond(1);
    v_.eos = none_beyond(2);
    v_.add_bos = v_.bos >= 0;
    read_steps({});
    if (is_phi3()) set_phi3_strips();
  }

  void read_unigram() {
    v_.kind = TokenizerKind::unigram;
    read_scores();
    const auto n = static_cast<Token>(std::min<size_t>(v_.tokens.size(), kMaxVocabulary));
    v_.eos = n > 1 ? 1 : -1;
    v_.unk = n > 2 ? 2 : -1;
    v_.add_eos = v_.eos >= 0;
    read_steps({.prefix = false});
  }

  void read_scores() {
    for (const Json& score : require("scores").as_array(at("scores")))
      v_.scores.push_back(static_cast<float>(score.as_number(at("scores"))));
  }

  void read_steps(SentencePieceRules rules) {
    read_flag("add_space_prefix", rules.prefix);
    read_flag("remove_extra_whitespaces", rules.squeeze);
    if (const Json* map = find("precompiled_charsmap"))
      for (const Json& byte : map->as_array(at("precompiled_charsmap")))
        rules.charsmap += static_cast<char>(byte.as_int(at("precompiled_charsmap")));
    set_sentencepiece_steps(v_, rules);
  }

  // The file does not say which tokens swallow white space: in Phi-3 most special tokens swallow
  // what follows. The vocabulary is known by the token that it alone has.
  bool is_phi3() const { return has_token("<|placeholder1|>"); }
  void set_phi3_strips() {
    constexpr std::array<std::string_view, 3> kOthers = {"<unk>", "<s>", "<|endoftext|>"};
    for (size_t i = 0; i < std::min(v_.tokens.size(), v_.kinds.size()); ++i) {
      const bool special =
          v_.kinds[i] == TokenKind::control || v_.kinds[i] == TokenKind::user_defined;
      if (special && std::ranges::find(kOthers, v_.tokens[i]) == kOthers.end())
        v_.strip_right.push_back(static_cast<Token>(i));
    }
  }

  bool has_token(std::string_view text) const {
    return std::ranges::find(v_.tokens, text) != v_.tokens.end();
  }

  // Files of before 2024-05 do not say how a text is cut into words.
  std::string guessed_rule() {
    constexpr size_t kQwenTokens = 150'000;
    std::string name = "default";
    if (has_token("<|begin_of_text|>")) name = "llama-bpe";
    if (has_token("<|im_start|>") && v_.tokens.size() > kQwenTokens) name = "qwen2";
    v_.notes.push_back("the file does not say how its tokenizer cuts a text into words (" +
                       key("pre") + "): taken to be \"" + name +
                       "\"; if replies are poor, convert the model anew");
    return name;
  }

  void read_byte_level() {
    v_.kind = TokenizerKind::byte_bpe;
    v_.fuse_unk = false;
    const Json* pre = find("pre");
    const std::string name = pre ? pre->as_string(at("pre")) : guessed_rule();
    const GgufRule* known = find_gguf_rule(name);
    if (!known) throw Error(at("pre"), "the pre-tokenizer " + printable(name) + " is not known");
    v_.splits = split_rule(known->rule);
    v_.ignore_merges = known->ignore_merges;
    v_.add_bos = known->add_bos;
    for (const Json& merge : require("merges").as_array(at("merges")))
      v_.merges.push_back(split_merge(merge.as_string(at("merges")), at("merges")));
  }

  // What the file does not have leaves the usual id, and so does what is no token.
  void read_id(const char* name, Token& id) {
    const Json* value = find(name);
    if (!value) return;
    const size_t n_notes = v_.notes.size();
    const Token found = special_id(*value, where_, key(name).c_str(), v_);
    if (found >= 0 || v_.notes.size() == n_notes) id = found;
  }

  void read_ids() {
    read_id("bos_token_id", v_.bos);
    read_id("eos_token_id", v_.eos);
    read_id("unknown_token_id", v_.unk);
    for (const char* name : {"eot_token_id", "eom_token_id"}) {
      Token id = -1;
      read_id(name, id);
      if (id >= 0) v_.end_tokens.push_back(id);
    }
  }

  const Json& metadata_;
  const std::string& where_;
  Vocabulary v_;
};

}  // namespace

Vocabulary read_gguf_vocabulary(const Json& metadata, const std::string& where) {
  return GgufReader(metadata, where).read();
}

}  // namespace nibble
