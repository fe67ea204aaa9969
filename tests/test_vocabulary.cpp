#include "text/vocabulary.h"

#include <filesystem>
#include <limits>

#include "files.h"
#include "vocabulary_checks.h"

namespace {

using namespace nibble;
using namespace nibble::test;

// A GGUF's metadata, as the loader gives it.
const std::string kGgufSpm = R"({
  "tokenizer.ggml.model": "llama",
  "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "<0x41>", "a", "<|im_end|>", "[x]"],
  "tokenizer.ggml.scores": [0, 0, 0, 0, -1.5, 0, 0],
  "tokenizer.ggml.token_type": [2, 3, 3, 6, 1, 4, 4],
  "tokenizer.ggml.eot_token_id": 4})";
const std::string kGgufBpe = R"({
  "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe",
  "tokenizer.ggml.tokens": ["a", "b", "ab", "<|x|>"],
  "tokenizer.ggml.token_type": [1, 1, 1, 3],
  "tokenizer.ggml.merges": ["a b"],
  "tokenizer.ggml.bos_token_id": 3, "tokenizer.ggml.eos_token_id": 4294967295,
  "tokenizer.chat_template": "{{ x }}"})";

Vocabulary gguf(const std::string& metadata) { return read(FileFormat::gguf, metadata); }

void reads_gguf_sentencepiece() {
  const Vocabulary v = gguf(kGgufSpm);
  check(v.kind == TokenizerKind::sentencepiece_bpe && v.tokens.size() == 7);
  check(v.unk == 0 && v.bos == 1 && v.eos == 2 && v.add_bos && !v.add_eos && adds_prefix(v));
  check_eq(v.scores[4], -1.5f);
  check(v.kinds[3] == TokenKind::byte && v.kinds[6] == TokenKind::user_defined);
  check(v.kinds[5] == TokenKind::control, "what ends a reply is no text");
  check_eq(joined(v.end_tokens), "2 4 5");
  const Vocabulary html =
      gguf(replaced(replaced(kGgufSpm, "<|im_end|>", "</s>"), "[x]", "</strong>"));
  check(html.kinds[5] == TokenKind::user_defined && joined(html.end_tokens) == "2 4",
        "HTML ends no reply");
  const Vocabulary w = gguf(replaced(kGgufSpm, "\"tokenizer.ggml.eot_token_id\": 4",
                                     "\"tokenizer.ggml.add_bos_token\": false, "
                                     "\"tokenizer.ggml.add_eos_token\": true, "
                                     "\"tokenizer.ggml.add_space_prefix\": false"));
  check(!w.add_bos && w.add_eos && !adds_prefix(w));
}

void reads_gguf_byte_level() {
  const Vocabulary v = gguf(kGgufBpe);
  check(v.kind == TokenizerKind::byte_bpe && rule_of(v) == "llama3" && v.ignore_merges);
  check(v.bos == 3 && v.eos == -1 && v.add_bos && v.end_tokens.empty() && v.scores.empty());
  check(v.merges.size() == 1 && v.merges[0].first == "a" && v.merges[0].second == "b");
  check_eq(v.chat_template, "{{ x }}");
  const std::pair<const char*, const char*> names[] = {
      {"gpt-2", "gpt2"},          {"qwen2", "qwen2"},      {"falcon", "falcon"},  {"mpt", "gpt2"},
      {"starcoder", "starcoder"}, {"smollm", "starcoder"}, {"default", "generic"}};
  for (const auto& [name, pre] : names) {
    const Vocabulary w = gguf(replaced(kGgufBpe, "llama-bpe", name));
    check(rule_of(w) == pre && !w.ignore_merges && !w.add_bos, name);
  }
}

bool has_note(const Vocabulary& v, std::string_view says) {
  return std::ranges::any_of(
      v.notes, [&](const std::string& note) { return note.find(says) != std::string::npos; });
}

void notes_ids_beyond_the_tokens() {
  check(gguf(kGgufBpe).notes.empty() && gguf(kGgufSpm).notes.empty(), "nothing to note");
  for (const char* id : {"4", "-7", "99999"}) {
    const Vocabulary v = gguf(replaced(kGgufBpe, "id\": 3", std::string("id\": ") + id));
    check(v.bos == -1 && !v.add_bos, "no such token");
    check(has_note(v, std::string("bos_token_id is ") + id), "it is noted");
  }
  const Vocabulary eot = gguf(replaced(kGgufSpm, "eot_token_id\": 4", "eot_token_id\": 7"));
  check(has_note(eot, "eot_token_id is 7") && joined(eot.end_tokens) == "2 5", "eot");
  const Vocabulary eos = gguf(replaced(kGgufSpm, "eot_token_id\": 4", "eos_token_id\": 7"));
  check(has_note(eos, "eos_token_id is 7") && eos.eos == 2, "the usual id");
  const Vocabulary unk = gguf(replaced(kGgufSpm, "eot_token_id\": 4", "unknown_token_id\": 7"));
  check(has_note(unk, "unknown_token_id is 7") && unk.unk == 0, "the usual id");
}

void guesses_the_rule_of_gguf() {
  const auto without_rule = [](const std::string& token, int n_more = 0) {
    std::string json = replaced(kGgufBpe, "\"tokenizer.ggml.pre\": \"llama-bpe\",", "");
    std::string more, types;
    for (int i = 0; i < n_more; ++i) {
      more += ", \"t" + std::to_string(i) + "\"";
      types += ", 1";
    }
    json = replaced(json, "\"<|x|>\"", "\"" + token + "\"" + more);
    return gguf(replaced(json, "[1, 1, 1, 3", "[1, 1, 1, 3" + types));
  };
  const Vocabulary any = without_rule("<|x|>"), llama = without_rule("<|begin_of_text|>"),
                   few = without_rule("<|im_start|>"), qwen = without_rule("<|im_start|>", 150000);
  check(rule_of(any) == "generic" && !any.ignore_merges, "no clue");
  check(rule_of(llama) == "llama3" && llama.ignore_merges && llama.add_bos, "Llama 3");
  check(rule_of(few) == "generic" && rule_of(qwen) == "qwen2", "Qwen 2");
  for (const Vocabulary* v : {&any, &llama, &few, &qwen})
    check(has_note(*v, "tokenizer.ggml.pre"), "it is noted");
}

void refuses_bad_gguf() {
  const auto refuse = [](const std::string& base, const char* from, const char* to,
                         const char* why) {
    check_error([&] { make_tokenizer(gguf(replaced(base, from, to))); }, why);
  };
  refuse(kGgufBpe, "llama-bpe", "no-such-rule", "\"no-such-rule\"");
  refuse(kGgufBpe, "\"gpt2\"", "\"bert\"", "\"bert\"");
  refuse(kGgufBpe, "\"a b\"", "\"ab\"", "is not two texts");
  refuse(kGgufBpe, "\"a b\"", "\"a c\"", "merge 0 joins");
  refuse(kGgufBpe, "\"a b\"", "\"b a\"", "is not in the vocabulary");
  refuse(kGgufBpe, "[1, 1, 1, 3]", "[1, 1, 1]", "the number of token types is 3, expected 4");
  refuse(kGgufBpe, "id\": 3", "id\": \"x\"", "bos_token_id");
  refuse(kGgufBpe, "\"tokenizer.ggml.merges\"", "\"x\"", "tokenizer.ggml.merges: is missing");
  refuse(kGgufBpe, "[\"a\", \"b\", \"ab\", \"<|x|>\"]", "[]", "the number of tokens is 0");
  refuse(kGgufSpm, "<0x41>", "<0x-1>", "the byte token 3 is \"<0x-1>\"");
  refuse(kGgufSpm, "<0x41>", "<0x4>", "the byte token 3");
  refuse(kGgufSpm, "-1.5, 0, 0]", "-1.5]", "the number of token scores is 5, expected 7");
  refuse(kGgufSpm, "-1.5", "1e39", "not a finite number");
  refuse(kGgufSpm, "\"tokenizer.ggml.scores\"", "\"x\"", "tokenizer.ggml.scores: is missing");
  check_error([] { gguf("{}"); }, "holds no tokenizer");
}

void takes_odd_vocabularies() {
  // A token twice, an empty one: the first counts, the empty one never occurs.
  const Tokenizer t = make_tokenizer(
      gguf(replaced(kGgufSpm, "\"a\", \"<|im_end|>\", \"[x]\"", "\"\", \"a\", \"a\"")));
  check_eq(joined(t.encode("a")), "5");
  check_eq(t.piece(4), "");
}

// A protobuf field: a varint, or bytes.
std::string field(int number, uint64_t value) {
  std::string out(1, '\0');
  const auto put = [&](uint64_t v) {
    std::string bytes;
    for (; v >= 128; v >>= 7) bytes += static_cast<char>((v & 127) | 128);
    return bytes + static_cast<char>(v);
  };
  return put(static_cast<uint64_t>(number) << 3) + put(value);
}
std::string field(int number, const std::string& bytes) {
  std::string tag = field(number, uint64_t{bytes.size()});
  tag[0] = static_cast<char>(tag[0] | 2);
  return tag + bytes;
}
std::string piece(const std::string& text, float score, uint64_t type) {
  return field(1, field(1, text) + "\x15" + raw(score) + field(3, type));
}

std::string sentencepiece_model(uint64_t model_type = 2, const std::string& normalizer = "") {
  return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<0x41>", 0, 6) +
         piece("a", -1.25f, 1) + piece("\xe2\x96\x81\xe2\x96\x81", 0, 4) +
         field(2, field(3, model_type) + field(40, uint64_t{0})) +
         field(3, field(1, std::string("identity")) + field(4, uint64_t{0}) + normalizer);
}

void reads_sentencepiece_model() {
  const Vocabulary v = read_sentencepiece_model(sentencepiece_model(), "tokenizer.model");
  check_eq(v.tokens.size(), size_t{6});
  check_eq(v.scores[4], -1.25f);
  check_eq(v.tokens[5], "  ", "user-defined tokens are plain text");
  check(v.unk == 0 && v.bos == 1 && v.eos == 2 && v.add_bos && adds_prefix(v));
  check(v.kinds[3] == TokenKind::byte && v.kinds[5] == TokenKind::user_defined);
  check(!adds_prefix(read_sentencepiece_model(sentencepiece_model(2, field(3, uint64_t{0})), "m")));
  TempDir dir;
  write_file(dir / "tokenizer.model", sentencepiece_model());
  write_file(dir / "tokenizer_config.json", R"({"add_bos_token": false, "chat_template": "T"})");
  const Vocabulary w = read_vocabulary_from_directory(dir.path());
  check(w.tokens == v.tokens && !w.add_bos && w.eos == 2 && w.chat_template == "T");
  write_file(dir / "chat_template.json",
             R"({"chat_template": [{"name": "r", "template": "R"},
                                   {"name": "default", "template": "J"}]})");
  check_eq(read_vocabulary_from_directory(dir.path()).chat_template, "J");
  write_file(dir / "chat_template.jinja", "F");
  check_eq(read_vocabulary_from_directory(dir.path()).chat_template, "F");
  write_file(dir / "tokenizer.json", "null");
  check_error([&] { read_vocabulary_from_directory(dir.path()); }, "tokenizer");
  std::filesystem::remove(dir / "tokenizer.model");
  check_error([&] { read_vocabulary_from_directory(dir.path()); }, "tokenizer.json");
  check_error([] { read_vocabulary_from_directory(TempDir().path()); }, "holds no tokenizer");
}

// As the fine-tunes of 2023 have them.
void reads_tokens_beside_sentencepiece_model() {
  TempDir dir;
  write_file(dir / "tokenizer.model", sentencepiece_model());
  write_file(dir / "config.json", R"({"vocab_size": 10, "eos_token_id": 7})");
  write_file(dir / "tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
  write_file(dir / "added_tokens.json", R"({"<|im_end|>": 7, "<|im_start|>": 6, "far": 10})");
  const auto read = [&] { return read_vocabulary_from_directory(dir.path()); };
  const Vocabulary table = read();
  check_eq(table.tokens.size(), size_t{10}, "one for each row of the model");
  check_eq(table.scores.size(), size_t{10});
  check(table.eos == 7 && table.kinds[7] == TokenKind::control);
  check(table.kinds[6] == TokenKind::user_defined && table.kinds[8] == TokenKind::unused);
  check_eq(joined(make_tokenizer(table).encode("<|im_start|>a")), "0 6 4",
           "the space in front is unknown");

  write_file(dir / "tokenizer_config.json", R"({"eos_token": "<|im_end|>", "added_tokens_decoder": {
      "0": {"content": "<unk>", "special": true}, "2": {"content": "</s>", "special": true},
      "6": {"content": "<|im_start|>", "special": true}, "8": {"content": "<x>"},
      "7": {"content": "<|im_end|>", "special": true, "lstrip": true}}})");
  const Vocabulary both = read();
  check(both.kinds[0] == TokenKind::unknown && both.kinds[6] == TokenKind::control);
  check_eq(joined(both.strip_left), "7");
  check_eq(joined(make_tokenizer(both).encode("a<x>")), "0 4 8");
  std::filesystem::remove(dir / "added_tokens.json");
  check(read().tokens == both.tokens);
  write_file(dir / "tokenizer_config.json",
             R"({"added_tokens_decoder": {"7x": {"content": "a"}}})");
  check_error(read, "added_tokens_decoder: \"7x\" is no id");
  write_file(dir / "tokenizer_config.json",
             R"({"added_tokens_decoder": {"-7": {"content": "a"}}})");
  check_error(read, "the id of a token is -7");
}

void reads_sentencepiece_unigram() {
  const std::string settings = field(4, uint64_t{1}) + field(2, std::string("\0\0\0\0x", 5));
  const Vocabulary v = read_sentencepiece_model(sentencepiece_model(1, settings), "m");
  check(v.kind == TokenizerKind::unigram && v.scores.size() == 6);
  using Type = NormalizeStep::Type;
  const std::vector<NormalizeStep> expected = {
      {.type = Type::charsmap, .content = std::string("\0\0\0\0x", 5)},
      {.type = Type::squeeze, .joins = true},
      {.type = Type::prepend, .content = std::string(kSpaceMark), .joins = true},
      {.type = Type::replace, .pattern = " ", .content = std::string(kSpaceMark)}};
  check(v.normalizers == expected);
  // User-defined tokens are spaces here: what stands beside one is neither squeezed nor prefixed.
  const Tokenizer t = make_tokenizer(v);
  check_eq(joined(t.encode(" a  a")), "0 4 5 4");
  check_eq(joined(t.encode("  a")), "0 5 4", "the prefix stands before a user-defined token");
  const Vocabulary plain = read_sentencepiece_model(
      sentencepiece_model(1, field(3, uint64_t{0}) + field(5, uint64_t{0})), "m");
  check(plain.normalizers.empty());
}

void refuses_bad_sentencepiece_model() {
  const auto read_model = [](const std::string& bytes) { read_sentencepiece_model(bytes, "m"); };
  check_error([&] { read_model(sentencepiece_model(3)); }, "the type word");
  check_error([&] { read_model(sentencepiece_model(9)); }, "number 9");
  check_error(
      [&] {
        read_model(piece("<0x-1>", 0, 6) + field(2, field(3, uint64_t{2})) +
                   field(3, field(4, uint64_t{0})));
      },
      "<0x-1>");
  check_error([&] { read_model("IQ== 0\nIg== 1\n"); }, "is not a SentencePiece model");
  check_error([&] { read_model(std::string(11, '\xff')); }, "protobuf");
  // Cut short anywhere but at the end of a field: of one piece, or of the settings.
  const std::string first = piece("a", 0, 1), rest = field(2, field(3, uint64_t{2}));
  const std::string whole = first + rest;
  for (size_t n = 0; n < whole.size(); ++n)
    if (n != first.size()) check_error([&] { read_model(whole.substr(0, n)); }, "m: ");
  read_model(whole);
}

void reads_llama2c() {
  std::string tokens = "\"?\"", scores = "0";
  for (int i = 1; i < 259; ++i) {
    tokens += ", \"x\"";
    scores += ", 0";
  }
  const auto metadata = [&](const std::string& more) {
    return R"({"tokenizer": {"tokens": [)" + tokens + more + R"(], "scores": [)" + scores +
           ", -2]}}";
  };
  const Vocabulary v = read(FileFormat::llama2c, metadata(", \" a\""));
  check(v.tokens[0] == "<unk>" && v.tokens[2] == "</s>" && v.tokens[3] == "<0x00>" &&
        v.tokens[258] == "<0xFF>" &&
        v.tokens[259] ==
            "\xe2\x96\x81"
            "a");
  check(v.bos == 1 && v.eos == 2 && v.add_bos && adds_prefix(v) && v.scores[259] == -2);
  check_error([&] { read(FileFormat::llama2c, metadata("")); }, "scores is 260, expected 259");
  check_error([&] { read(FileFormat::llama2c, R"({"tokenizer": {"tokens": [], "scores": []}})"); },
              "259 at least");
}

bool equal(const Vocabulary& a, const Vocabulary& b) {
  return a.kind == b.kind && a.normalizers == b.normalizers && a.splits == b.splits &&
         a.decoders == b.decoders && a.tokens == b.tokens && a.kinds == b.kinds &&
         a.scores == b.scores && a.merges == b.merges && a.bos == b.bos && a.eos == b.eos &&
         a.unk == b.unk && a.end_tokens == b.end_tokens && a.strip_left == b.strip_left &&
         a.strip_right == b.strip_right && a.single_word == b.single_word &&
         a.normalized == b.normalized && a.add_bos == b.add_bos && a.add_eos == b.add_eos &&
         a.fuse_unk == b.fuse_unk && a.ignore_merges == b.ignore_merges &&
         a.chat_template == b.chat_template;
}

void survives_json() {
  Vocabulary v = sentencepiece_vocabulary({"a", "\xff\x80", "\"\n", std::string("\0z", 2), ""});
  using Limits = std::numeric_limits<float>;
  const float floats[] = {0.1f, -1e-40f, Limits::max(), 16777217.0f, Limits::denorm_min()};
  std::copy(std::begin(floats), std::end(floats), v.scores.begin());
  v.chat_template = "{{ '\\n' }}\xe4\xbd\xa0";
  v.strip_left = {1};
  v.strip_right = {1, 2};
  v.single_word = {0};
  v.normalized = {2};
  v.fuse_unk = false;
  v.add_eos = v.ignore_merges = true;
  v.normalizers.push_back({.type = NormalizeStep::Type::charsmap, .content = "\xff\x01"});
  v.normalizers.push_back({.type = NormalizeStep::Type::squeeze, .left = false, .joins = true});
  v.decoders.push_back({.type = DecodeStep::Type::replace,
                        .pattern = "a",
                        .content = "b",
                        .stop = 3,
                        .first = true});
  v.splits.push_back({.type = SplitStep::Type::metaspace, .never = true, .first_only = true});
  check(equal(vocabulary_from_json(vocabulary_to_json(v), "json"), v), "SentencePiece by scores");

  v.scores.clear();
  v.add_bos = false;
  v.bos = -1;
  v.merges = {{"a", "a"}, {"\xff", "b"}, {"a b", ""}};
  check(equal(vocabulary_from_json(vocabulary_to_json(v), "json"), v), "SentencePiece by merges");

  const Vocabulary b = byte_vocabulary("generic", {"a b", "_ a"});
  check(equal(vocabulary_from_json(vocabulary_to_json(b), "json"), b), "byte-level");
}

// Files that were made before there were lists of normalizers.
void reads_older_json() {
  const auto older = [](const std::string& flags) {
    return vocabulary_from_json(
        R"({"kind": "sentencepiece_bpe", "pre": "none", "tokens": ["\u2581", "a", "\u2581a"],)"
        R"( "kinds": "000", "scores": [-2, -1, -3])" +
            flags + "}",
        "j");
  };
  check_eq(joined(make_tokenizer(older(R"(, "add_space_prefix": true)")).encode("a a")), "2 2");
  check_eq(joined(make_tokenizer(older("")).encode("a a")), "1 2");
  const Vocabulary first = older(
      R"(, "add_space_prefix": true, "prefix_unless_space": true, "prefix_first_only": true)");
  check_eq(joined(make_tokenizer(first).encode(" a")), "2");
  check(first.splits.size() == 1 && first.splits[0].first_only && !first.splits[0].never);
  check_eq(make_tokenizer(first).decode(std::vector<Token>{2, 2}), "a a");
}

void refuses_bad_json() {
  const std::string json =
      R"({"kind": "byte_bpe", "pre": "gpt2", "tokens": ["a", {"bytes": "ff"}], "kinds": "00",)"
      R"( "merges": ["a b"], "bos": 1})";
  check_eq(vocabulary_from_json(json, "j").tokens[1], "\xff");
  const auto refuse = [&](const char* from, const char* to, const char* why) {
    check_error([&] { vocabulary_from_json(replaced(json, from, to), "j"); }, why);
  };
  refuse("byte_bpe", "wordpiece", "\"wordpiece\"");
  refuse("gpt2", "gpt9", "\"gpt9\"");
  refuse("\"00\"", "\"0\"", "the number of token types is 1, expected 2");
  refuse("\"00\"", "\"09\"", "the kind of a token");
  refuse("\"ff\"", "\"f\"", "cut short");
  refuse("\"ff\"", "\"fg\"", "not hexadecimal");
  refuse("\"a\", ", "1, ", "neither a text");
  refuse("\"bos\": 1", "\"bos\": 2", "BOS token is 2, expected below 2");
  refuse("\"bos\": 1", "\"bos\": 4294967297", "out of range");
  refuse("\"bos\": 1", "\"add_bos\": true", "there is none");
  refuse("\"bos\": 1", "\"end_tokens\": [-1]", "end token is -1");
  refuse("\"bos\": 1", "\"scores\": [1, 2]", "token scores is 2, expected 0");
  refuse("\"a b\"", "[\"a\"]", "texts of a merge");
  refuse("\"kind\"", "\"kinds2\"", "\"kind\" is missing");
  check_error([] { vocabulary_from_json("[]", "j"); }, "j");
}

void refuses_vocabularies_made_wrong() {
  Vocabulary v = byte_vocabulary("gpt2", {});
  v.strip_left = {300};
  check_error([&] { make_tokenizer(v); }, "is 300, expected below 256");
  check_error([] { make_tokenizer({}); }, "the number of tokens is 0");
  v = byte_vocabulary("gpt2", {});
  v.normalizers.resize(300);
  check_error([&] { make_tokenizer(v); }, "more than 250 steps");
  v.normalizers = {
      {.type = NormalizeStep::Type::replace, .pattern = "a", .content = std::string(4000, 'x')}};
  for (int i = 0; i < 20; ++i) {
    v.normalized.push_back(static_cast<Token>(v.tokens.size()));
    add_token(v, "a" + std::to_string(i), TokenKind::user_defined);
  }
  check_error([&] { make_tokenizer(v); }, "too long when they are normalized");
}

void reads_shared_models() {
  const Vocabulary bundled = read_vocabulary(open_checkpoint(shared("model/nibble-chat")));
  check(rule_of(bundled) == "qwen2" && bundled.tokens.size() == 4096);
  check(bundled.bos == 1 && bundled.eos == 5 && !bundled.add_bos);
  check_eq(joined(bundled.end_tokens), "5");
  // The same tokenizer in two formats.
  const Vocabulary a =
      read_vocabulary(open_checkpoint(shared("data/stories260K/stories260K.gguf")));
  const Vocabulary b = read_vocabulary(open_checkpoint(shared("data/stories260K/stories260K.bin")));
  check(equal(a, b));
  check(!has_vocabulary(open_checkpoint(shared("data/stories260K/hf"))));
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"reads GGUF: SentencePiece", reads_gguf_sentencepiece},
              {"reads GGUF: byte-level", reads_gguf_byte_level},
              {"refuses bad GGUF", refuses_bad_gguf},
              {"ids beyond the tokens of GGUF files", notes_ids_beyond_the_tokens},
              {"rules that GGUF files do not name", guesses_the_rule_of_gguf},
              {"takes odd vocabularies", takes_odd_vocabularies},
              {"reads tokenizer.model", reads_sentencepiece_model},
              {"reads tokens beside tokenizer.model", reads_tokens_beside_sentencepiece_model},
              {"reads tokenizer.model: unigram", reads_sentencepiece_unigram},
              {"refuses bad tokenizer.model", refuses_bad_sentencepiece_model},
              {"reads llama2.c", reads_llama2c},
              {"survives JSON", survives_json},
              {"reads older JSON", reads_older_json},
              {"refuses bad JSON", refuses_bad_json},
              {"refuses vocabularies made wrong", refuses_vocabularies_made_wrong},
              {"reads shared models", reads_shared_models}});
}
