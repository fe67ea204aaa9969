// Tokenizers of Hugging Face directories: tokenizer.json (or tokenizer.model and the tokens that
// other files add to it), and what tokenizer_config.json, config.json and generation_config.json
// say about special tokens.
#include <algorithm>
#include <charconv>

#include "load/hugging_face.h"
#include "load/names.h"
#include "nibble/error.h"
#include "text/tokenizer_layout.h"
#include "text/vocabulary_readers.h"

namespace nibble {
namespace {

class HuggingFaceReader {
 public:
  HuggingFaceReader(const Json& metadata, const std::string& where)
      : metadata_(metadata),
        where_(where + ": tokenizer.json"),
        directory_(where),
        config_(member(&metadata, "config")),
        tokenizer_config_(member(&metadata, "tokenizer_config")) {}

  Vocabulary read() {
    const Json* model = metadata_.find("tokenizer_model");
    if (const Json* tokenizer = member(&metadata_, "tokenizer")) {
      read_tokenizer(*tokenizer);
    } else if (model) {
      where_ = directory_ + ": tokenizer.model";
      v_ = read_sentencepiece_model(model->as_string(directory_), where_);
      read_added_tokens(nullptr);
    } else {
      throw Error(where_, "is no tokenizer", "expected a JSON object");
    }
    read_special_ids();
    read_add_flags();
    read_chat_template();
    finish_vocabulary(v_, directory_);
    return std::move(v_);
  }

 private:
  void read_tokenizer(const Json& tokenizer) {
    const Json* model = member(&tokenizer, "model");
    const std::string type = text_member(model, "type");
    if (!model || (!type.empty() && type != "BPE" && type != "Unigram"))
      throw Error(where_, "its model is of the type " + printable(type) +
                              ", of which only \"BPE\" and \"Unigram\" are supported");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!text_member(model, key).empty())
        throw Error(where_, std::string("its model has a ") + key + ", which is not supported");
    read_layout(tokenizer, where_, v_);
    if (v_.kind == TokenizerKind::unigram)
      read_unigram(*model);
    else
      read_bpe(*model);
    if (v_.unk >= 0) v_.kinds[static_cast<size_t>(v_.unk)] = TokenKind::unknown;
    read_added_tokens(&tokenizer);
    read_processor(member(&tokenizer, "post_processor"));
  }

  void read_bpe(const Json& model) {
    v_.ignore_merges = flag_member(&model, "ignore_merges", false);
    v_.fuse_unk = flag_member(&model, "fuse_unk", false);
    read_tokens(model);
    read_merges(model);
    const std::string unknown = text_member(&model, "unk_token");
    if (!unknown.empty()) v_.unk = find(unknown);
  }

  // A list of [text, score].
  void read_unigram(const Json& model) {
    const Json* vocab = member(&model, "vocab");
    if (!vocab) throw Error(where_, "its vocabulary is missing");
    const bool byte_tokens = flag_member(&model, "byte_fallback", false);
    for (const Json& entry : vocab->as_array(where_)) {
      const Json::Array& pair = entry.as_array(where_);
      if (pair.size() != 2)
        throw Error::mismatch(where_, "the length of an entry of its vocabulary", "2",
                              std::to_string(pair.size()));
      const std::string& text = pair[0].as_string(where_);
      const bool byte = byte_tokens && parse_byte_token(text);
      place(static_cast<int64_t>(v_.tokens.size()), byte ? TokenKind::byte : TokenKind::normal) =
          text;
      v_.scores.push_back(static_cast<float>(pair[1].as_number(where_)));
    }
    if (const Json* unknown = member(&model, "unk_id")) v_.unk = checked_id(*unknown, where_);
  }

  // The place of a token. Ids leave gaps, and a model may have more rows than the file has tokens:
  // both are filled by unused tokens.
  std::string& place(int64_t id, TokenKind kind) {
    if (id < 0 || id >= static_cast<int64_t>(kMaxVocabulary))
      throw Error::mismatch(where_, "the id of a token", "below " + std::to_string(kMaxVocabulary),
                            std::to_string(id));
    const auto index = static_cast<size_t>(id);
    if (index >= v_.tokens.size()) {
      v_.tokens.resize(index + 1);
      v_.kinds.resize(index + 1, TokenKind::unused);
    }
    v_.kinds[index] = kind;
    return v_.tokens[index];
  }

  void read_tokens(const Json& model) {
    const Json* vocab = member(&model, "vocab");
    if (!vocab) throw Error(where_, "its vocabulary is missing");
    const bool byte_tokens =
        v_.kind == TokenizerKind::sentencepiece_bpe && flag_member(&model, "byte_fallback", false);
    for (const auto& [text, id] : vocab->as_object(where_)) {
      const bool byte = byte_tokens && parse_byte_token(text);
      std::string& token = place(id.as_int(where_), byte ? TokenKind::byte : TokenKind::normal);
      if (!token.empty())
        throw Error(where_, "the tokens " + printable(token) + " and " + printable(text) +
                                " have the same id");
      token = text;
    }
  }

  void read_merges(const Json& model) {
    const Json* merges = member(&model, "merges");
    if (!merges) throw Error(where_, "its merges are missing");
    for (const Json& merge : merges->as_array(where_)) {
      if (!merge.is_array()) {
        v_.merges.push_back(split_merge(merge.as_string(where_), where_));
        continue;
      }
      const Json::Array& pair = merge.as_array(where_);
      if (pair.size() != 2)
        throw Error::mismatch(where_, "the number of texts of a merge", "2",
                              std::to_string(pair.size()));
      v_.merges.emplace_back(pair[0].as_string(where_), pair[1].as_string(where_));
    }
    if (v_.merges.empty() && v_.kind == TokenizerKind::sentencepiece_bpe)
      throw Error(where_, "it has no merges");
  }

  // `tokenizer`: tokenizer.json, or null if there is none.
  void read_added_tokens(const Json* tokenizer) {
    int64_t n_rows = static_cast<int64_t>(kMaxVocabulary);
    if (const Json* rows = member(config_, "vocab_size"))
      n_rows = std::max(rows->as_int(directory_ + ": config.json"),
                        static_cast<int64_t>(v_.tokens.size()));
    if (const Json* added = member(tokenizer, "added_tokens"))
      for (const Json& token : added->as_array(where_))
        read_added_token(token, member(&token, "id"), n_rows);
    if (!tokenizer) read_added_tables(n_rows);
    if (!v_.scores.empty()) v_.scores.resize(v_.tokens.size());
    if (n_rows < static_cast<int64_t>(kMaxVocabulary) && n_rows > 0)
      pad_vocabulary(v_, static_cast<size_t>(n_rows));
  }

  // What files beside tokenizer.model add to it: {text: id} or, in newer ones, {"id": what
  // tokenizer.json would say of the token}.
  void read_added_tables(int64_t n_rows) {
    if (const Json* added = member(&metadata_, "added_tokens"))
      for (const auto& [text, id] : added->as_object(directory_ + ": added_tokens.json"))
        read_added_token(Json::Object{{"content", text}}, &id, n_rows);
    if (const Json* decoder = member(tokenizer_config_, "added_tokens_decoder")) {
      const std::string where = directory_ + ": tokenizer_config.json: added_tokens_decoder";
      for (const auto& [digits, token] : decoder->as_object(where)) {
        int64_t id = 0;
        const char* end = digits.data() + digits.size();
        if (const auto [rest, error] = std::from_chars(digits.data(), end, id);
            error != std::errc() || rest != end)
          throw Error(where, printable(digits) + " is no id of a token");
        const Json number(id);
        read_added_token(token, &number, n_rows);
      }
    }
    v_.normalized.clear();  // the tokenizers of these files look for them in the text as it is
  }

  void read_added_token(const Json& token, const Json* number, int64_t n_rows) {
    const std::string text = text_member(&token, "content");
    if (!number || text.empty()) throw Error(where_, "an added token has no id or no text");
    const int64_t id = number->as_int(where_);
    if (id >= n_rows) return;  // the model has no row for it
    const bool special = flag_member(&token, "special", false);
    const bool unknown = v_.unk >= 0 && id == v_.unk;
    place(id, unknown   ? TokenKind::unknown
              : special ? TokenKind::control
                        : TokenKind::user_defined) = text;
    if (flag_member(&token, "lstrip", false)) v_.strip_left.push_back(static_cast<Token>(id));
    if (flag_member(&token, "rstrip", false)) v_.strip_right.push_back(static_cast<Token>(id));
    if (flag_member(&token, "single_word", false)) v_.single_word.push_back(static_cast<Token>(id));
    if (!special && flag_member(&token, "normalized", true))
      v_.normalized.push_back(static_cast<Token>(id));
  }

  Token find(std::string_view text) const {
    const auto it = std::ranges::find(v_.tokens, text);
    return it != v_.tokens.end() ? static_cast<Token>(it - v_.tokens.begin()) : -1;
  }

  Token checked_id(const Json& json, const std::string& where) const {
    const int64_t id = json.as_int(where);
    if (id < 0 || id >= static_cast<int64_t>(v_.tokens.size()))
      throw Error::mismatch(where, "the id of a special token",
                            "below " + std::to_string(v_.tokens.size()), std::to_string(id));
    return static_cast<Token>(id);
  }

  // tokenizer_config.json gives texts (or objects with a text), and null for none; config.json
  // gives an id or a list of ids.
  void read_special_id(const char* token_key, const char* id_key, Token& out) {
    const Json* named = tokenizer_config_ ? tokenizer_config_->find(token_key) : nullptr;
    if (named) {
      const std::string text = named->is_object() ? text_member(named, "content")
                                                  : text_member(tokenizer_config_, token_key);
      out = text.empty() ? -1 : find(text);
      return;
    }
    const Json* ids = member(config_, id_key);
    if (!ids) return;
    if (ids->is_array() && ids->as_array({}).empty()) return;
    const Json& id = ids->is_array() ? ids->as_array({})[0] : *ids;
    out = special_id(id, directory_ + ": config.json", id_key, v_);
  }

  void add_end_token(const Json& json, const std::string& where) {
    const Token id = special_id(json, where, "eos_token_id", v_);
    if (id >= 0) v_.end_tokens.push_back(id);
  }

  void read_special_ids() {
    read_special_id("bos_token", "bos_token_id", v_.bos);
    read_special_id("eos_token", "eos_token_id", v_.eos);
    for (const char* file : {"config", "generation_config"}) {
      const std::string where = directory_ + ": " + file + ".json";
      const Json* ids = member(member(&metadata_, file), "eos_token_id");
      if (!ids) continue;
      if (!ids->is_array()) {
        add_end_token(*ids, where);
        continue;
      }
      for (const Json& id : ids->as_array(where)) add_end_token(id, where);
    }
  }

  // What a post-processor puts before and behind a text. A token that no other file names is what
  // it says.
  void read_processor(const Json* processor) {
    constexpr int kMaxProcessors = 100;  // each looks for a token among all
    if (++n_processors_ > kMaxProcessors) throw Error(where_, "post_processor has too many steps");
    const std::string type = text_member(processor, "type");
    if (const Json* inner = member(processor, "processors"); inner && inner->is_array())
      for (const Json& each : inner->as_array(where_)) read_processor(&each);
    if (type == "TemplateProcessing") {
      const Json* single = member(processor, "single");
      if (!single || !single->is_array() || single->as_array(where_).empty()) return;
      const Json::Array& parts = single->as_array(where_);
      v_.add_bos = read_processor_token(member(&parts.front(), "SpecialToken"), template_bos_);
      v_.add_eos = parts.size() > 1 &&
                   read_processor_token(member(&parts.back(), "SpecialToken"), template_eos_);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      v_.add_bos = v_.add_eos = true;
    }
  }

  bool read_processor_token(const Json* part, Token& id) const {
    if (part) id = find(text_member(part, "id"));
    return part != nullptr;
  }

  void read_add_flags() {
    if (v_.bos < 0 && v_.add_bos) v_.bos = template_bos_;
    if (v_.eos < 0 && v_.add_eos) v_.eos = template_eos_;
    v_.add_bos = flag_member(tokenizer_config_, "add_bos_token", v_.add_bos);
    v_.add_eos = flag_member(tokenizer_config_, "add_eos_token", v_.add_eos);
  }

  /// A file of its own (chat_template.jinja, or chat_template.json that holds the same member), or
  /// a member of tokenizer_config.json; there, of several, the one named "default".
  void read_chat_template() {
    const Json* file = member(&metadata_, "chat_template");
    if (file && file->is_string()) {
      v_.chat_template = file->as_string(where_);
      return;
    }
    for (const Json* holder : {file, tokenizer_config_}) {
      const Json* found = member(holder, "chat_template");
      if (!found || !v_.chat_template.empty()) continue;
      if (!found->is_array()) {
        v_.chat_template = text_member(holder, "chat_template");
        continue;
      }
      for (const Json& choice : found->as_array({}))
        if (v_.chat_template.empty() || text_member(&choice, "name") == "default")
          v_.chat_template = text_member(&choice, "template");
    }
  }

  const Json& metadata_;
  std::string where_, directory_;
  const Json* config_;
  const Json* tokenizer_config_;
  Vocabulary v_;
  Token template_bos_ = -1, template_eos_ = -1;
  int n_processors_ = 0;
};

}  // namespace

Vocabulary read_hugging_face_vocabulary(const Json& metadata, const std::string& where) {
  return HuggingFaceReader(metadata, where).read();
}

Vocabulary read_vocabulary_from_directory(const std::string& directory) {
  bool is_text_part = false;
  const Json metadata = read_hugging_face_metadata(directory, is_text_part);
  if (!metadata.find("tokenizer") && !metadata.find("tokenizer_model"))
    throw Error(directory, "holds no tokenizer.json or tokenizer.model");
  return read_hugging_face_vocabulary(metadata, directory);
}

}  // namespace nibble
