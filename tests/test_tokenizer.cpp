#include "nibble/tokenizer.h"

#include <array>
#include <iterator>
#include <random>
#include <sstream>

#include "base/utf8.h"
#include "check.h"
#include "files.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"
#include "vocabularies.h"

namespace {

using namespace nibble;
using namespace nibble::test;

std::string ids(const Tokenizer& tokenizer, std::string_view text,
                Special special = Special::as_text) {
  return joined(tokenizer.encode(text, special));
}

// Ids: 259 "_", 260 h, 261 e, 262 l, 263 o, 264 ll, 265 he, 266 hell, 267 hello, 268 _h, 269 lo.
Vocabulary hello_vocabulary(bool bytes = true) {
  return sentencepiece_vocabulary(
      {"_", "h", "e", "l", "o", "ll", "he", "hell", "hello", "_h", "lo"}, bytes);
}

void sentencepiece_merges_best_score_first() {
  const Tokenizer t = make_tokenizer(hello_vocabulary());
  // ll, then he, then hell, then hello; "_h" comes last and finds its h gone.
  check_eq(ids(t, "hello"), "259 267");
  check_eq(ids(t, "ho"), "268 263");
  // Of three l the first two merge: equal scores go from the left.
  check_eq(ids(t, "lll"), "259 264 262");
  check_eq(ids(t, "o  lo"), "259 263 259 259 269");
  check_eq(ids(t, ""), "");
}

void sentencepiece_falls_back_to_bytes() {
  const Tokenizer t = make_tokenizer(hello_vocabulary());
  check_eq(ids(t, "\xc3\xa9l"), "259 198 172 262");  // e acute: C3 A9, ids are byte + 3
  check_eq(ids(t, std::string_view("o\xff\0e", 4)), "259 263 258 3 261");
  const Tokenizer unknowns = make_tokenizer(hello_vocabulary(false));
  check_eq(ids(unknowns, "xyl\xff"), "3 0 6 0", "a run of unknown characters is one token");
}

void sentencepiece_prefix_follows_its_steps() {
  Vocabulary v = hello_vocabulary();
  check_eq(ids(make_tokenizer(v), "l</s>l", Special::parse), "259 262 2 259 262");
  v.normalizers.clear();
  v.splits = {{.type = SplitStep::Type::metaspace}};
  check_eq(ids(make_tokenizer(v), " l</s>l", Special::parse), "259 262 2 259 262");
  v.splits[0].first_only = true;
  check_eq(ids(make_tokenizer(v), "l</s>l", Special::parse), "259 262 2 262");
  v.splits[0] = {.type = SplitStep::Type::metaspace, .never = true};
  check_eq(ids(make_tokenizer(v), "l l"), "262 259 262");
}

void sentencepiece_merges_by_rank() {
  Vocabulary v = hello_vocabulary();
  v.scores.clear();
  v.merges = {{"l", "o"}, {"l", "l"}, {"h", "e"}};
  const Tokenizer t = make_tokenizer(v);
  check_eq(ids(t, "hello"), "259 265 262 269");
  check_eq(ids(t, "hell"), "259 265 264", "hell itself is in no merge");
}

// Merges: 256 he, 257 ll, 258 hell, 259 hello, 260 _h, 261 _hello.
const std::vector<std::string> kHelloMerges = {"h e", "l l", "he ll", "hell o", "_ h", "_ hello"};

void byte_bpe_merges_by_rank() {
  Vocabulary v = byte_vocabulary("gpt2", kHelloMerges);
  const Tokenizer t = make_tokenizer(v);
  check_eq(ids(t, "hello hello"), "259 261");
  check_eq(ids(t, " ho"), "260 111");
  check_eq(ids(t, "\xff\xc3\xa9"), "255 195 169");
  v.merges.pop_back();  // "_hello" is now a token that no merge makes
  check_eq(ids(make_tokenizer(v), " hello"), "32 259");
  v.ignore_merges = true;
  check_eq(ids(make_tokenizer(v), " hello"), "261");
  v.unk = 5;
  v.tokens[static_cast<size_t>('x')] = "[none]";
  check_eq(ids(make_tokenizer(v), "xo"), "5 111");
  v.fuse_unk = false;
  check_eq(ids(make_tokenizer(v), "xxxo"), "5 5 5 111");
  v.fuse_unk = true;
  check_eq(ids(make_tokenizer(v), "xxxo"), "5 111");
}

std::string words(std::string_view rule, std::string_view text) {
  std::string out;
  WordScratch scratch;
  for (const std::string_view word :
       PreTokenizer(split_rule(rule), "test").words(text, true, scratch))
    out.append(out.empty() ? "" : "|").append(word);
  return out;
}

void rules_cut_words() {
  constexpr auto kGpt2 = "gpt2", kLlama3 = "llama3", kQwen2 = "qwen2";
  check_eq(words(kGpt2, "I'm we'll HE'S 'tis"), "I|'m| we|'ll| HE|'|S| '|tis");
  check_eq(words(kLlama3, "I'm we'll HE'S 'tis"), "I|'m| we|'ll| HE|'S| '|tis");
  check_eq(words(kQwen2, "'\xc5\xbf'reply"), "'\xc5\xbf|'re|ply", "a long s is an s");
  check_eq(words(kGpt2, "a 12345 b"), "a| 12345| b");
  check_eq(words(kLlama3, "a 12345 b"), "a| |123|45| b");
  check_eq(words(kQwen2, "a 123"), "a| |1|2|3");
  check_eq(words(kGpt2, "x  (y)!\n\n z\t"), "x| | (|y|)!|\n\n| z|\t");
  check_eq(words(kLlama3, "x  (y)!\n\n z\t"), "x| | (|y|)!\n\n| z|\t");
  check_eq(words(kLlama3, "a \n \n  b"), "a| \n \n| | b");
  check_eq(words(kLlama3, "(y\tz\nw"), "(y|\tz|\n|w", "one symbol, not a break, leads letters");
  check_eq(words(kGpt2, "(y\tz"), "(|y|\t|z");
  check_eq(words(kGpt2, "\xe4\xbd\xa0\xe5\xa5\xbd\xc2\xbd e\xcc\x81x"),
           "\xe4\xbd\xa0\xe5\xa5\xbd|\xc2\xbd| e|\xcc\x81|x", "a combining mark is no letter");
  check_eq(words(kLlama3, " \xff\xfe!a"), " \xff\xfe!|a");
  check_eq(words("starcoder", "ab 12c"), "ab| |1|2|c");
  check_eq(words("falcon", "a, $1234 b`c"), "a|,| |$|123|4| b|`|c");
  check_eq(words("generic", "a 12345`"), "a| |123|45|`");
  check_eq(words("mpt", "a b"), "a| b");
  check_eq(words("none", "a b"), "a b");
}

void classes_are_those_of_unicode() {
  const auto check_class = [](uint32_t c, CharClass expected) {
    check(char_class(c) == expected, "class of U+" + std::to_string(c));
  };
  for (const uint32_t c : {0x41u, 0xaau, 0x3b1u, 0x4e00u, 0x9fffu, 0xac00u, 0x1d400u, 0x2ceb0u})
    check_class(c, CharClass::letter);
  for (const uint32_t c : {0x30u, 0xb2u, 0xbdu, 0x660u, 0x2160u, 0x3007u, 0x1d7ffu})
    check_class(c, CharClass::number);
  for (const uint32_t c : {0x21u, 0x5fu, 0xabu, 0x2014u, 0x3001u, 0xff01u})
    check_class(c, CharClass::punctuation);
  for (const uint32_t c : {9u, 13u, 32u, 0x85u, 0xa0u, 0x1680u, 0x200au, 0x2028u, 0x3000u})
    check_class(c, CharClass::space);
  for (const uint32_t c : {0u, 0x1cu, 0x24u, 0x301u, 0x200bu, 0x2603u, 0xe000u, 0xfffdu, 0x1f600u,
                           0x10ffffu, 0x110000u, 0xffffffffu})
    check_class(c, CharClass::other);
}

// Ids 259 and 260: two control tokens; 261: user-defined.
Tokenizer special_tokenizer(const auto& change) {
  Vocabulary v = byte_vocabulary("gpt2", {"h e", "l l", "he ll"});
  add_token(v, "<|a|>", TokenKind::control);
  add_token(v, "<|a|>b", TokenKind::control);
  add_token(v, "lle", TokenKind::user_defined);
  change(v);
  return make_tokenizer(v);
}

void special_tokens_are_cut_first() {
  const Tokenizer t = special_tokenizer([](Vocabulary&) {});
  check_eq(ids(t, "<|a|>c", Special::parse), "259 99");
  check_eq(ids(t, "<|a|>b", Special::parse), "260", "the longest wins");
  check_eq(ids(t, "<|a|>"), "60 124 97 124 62");
  check_eq(ids(t, "helle"), "256 261", "user-defined tokens come before merges");
  const Tokenizer strips = special_tokenizer([](Vocabulary& v) {
    v.strip_left = {259};
    v.strip_right = {260};
  });
  check_eq(ids(strips, "c \n<|a|> c", Special::parse), "99 259 32 99");
  check_eq(ids(strips, "c <|a|>b\t c", Special::parse), "99 32 260 99");
  check_eq(ids(strips, "c\u3000\u00a0<|a|>b\u2028c", Special::parse),
           "99 227 128 128 194 160 260 99",
           "white space is Unicode's; the token before does not strip");
  check_eq(ids(strips, "c\u3000\u00a0<|a|>", Special::parse), "99 259");
  check_eq(ids(strips, "<|a|>b  <|a|>", Special::parse), "260 259");
  const Tokenizer single = special_tokenizer([](Vocabulary& v) { v.single_word = {259, 261}; });
  check_eq(ids(single, "lle (lle)"), "261 32 40 261 41");
  check_eq(ids(single, "helle \u00e9lle"), "258 101 32 195 169 257 101");
  check_eq(ids(single, "<|a|>.<|a|>x", Special::parse), "259 46 60 124 97 124 62 120");
}

// Tokens of one prefix, of which a search from each place anew would read a kilobyte; in a text of
// a user, where most of them are no tokens.
void many_special_tokens_are_no_trouble() {
  Vocabulary v = byte_vocabulary("none", {});
  const std::string prefix(1000, '<');
  for (int i = 0; i < 4000; ++i) add_token(v, prefix + std::to_string(i), TokenKind::control);
  for (size_t n = 2; n < 1000; ++n) add_token(v, std::string(n, '<'), TokenKind::control);
  add_token(v, prefix + "x", TokenKind::user_defined);
  const Tokenizer t = make_tokenizer(v);
  const std::string text(size_t{1} << 20, '<');
  check_eq(t.encode(text).size(), text.size());
  check_eq(t.encode(text, Special::parse).size(), text.size() / 999 + 1);
  check_eq(ids(t, text.substr(0, 1001) + "x7"), "60 5254 55");
  check_eq(ids(t, prefix + "3999", Special::parse), "4255");
}

void text_never_becomes_a_special_token() {
  Vocabulary v = byte_vocabulary("none", {"< s", "<s >"});
  v.kinds[257] = TokenKind::control;  // "<s>", which two merges spell
  const Tokenizer t = make_tokenizer(v);
  check_eq(ids(t, "<s>"), "256 62");
  check_eq(ids(t, "<s>", Special::parse), "257");
  Vocabulary sp = sentencepiece_vocabulary({"_", "<", "s", ">", "<s"});
  const Tokenizer spt = make_tokenizer(sp);
  check_eq(ids(spt, "<s>"), "259 263 262");
  check_eq(ids(spt, "<0x41>").find("68"), std::string::npos, "the text of a byte token is text");
}

void decodes_to_bytes() {
  const Tokenizer t = make_tokenizer(hello_vocabulary());
  const auto decode = [&](std::vector<Token> tokens, bool special = false) {
    return t.decode(tokens, special);
  };
  check_eq(decode({259, 267, 259, 262}), "hello l");
  check_eq(decode({1, 259, 267, 2}), "hello");
  check_eq(decode({1, 259, 267, 2}, true), "<s> hello</s>");
  check_eq(decode({198, 172}), "\xc3\xa9");
  check_eq(t.piece(268), " h");
  check_eq(t.piece(1), "");
  check_eq(t.piece(1, true), "<s>");
  check_error([&] { decode({270}); }, "token 270");
  check_error([&] { decode({-1}); }, "token -1");
  check_error([&] { t.is_special(270); }, "outside the vocabulary of 270");
  Vocabulary v = byte_vocabulary("gpt2", {});
  add_token(v, "\xe4\xbd\xa0");  // no text of the byte alphabet: stands for itself
  check_eq(make_tokenizer(v).piece(256), "\xe4\xbd\xa0");
}

void says_what_it_is() {
  const Tokenizer t = make_tokenizer(hello_vocabulary());
  check_eq(t.description(), "SentencePiece BPE");
  check_eq(t.vocab_size(), 270);
  check(t.bos() == 1 && t.eos() == 2 && t.add_bos() && t.is_end(2) && !t.is_end(1) &&
        !t.is_end(9999));
  check(t.is_special(0) && t.is_special(1) && !t.is_special(3) && !t.is_special(267));
  check(t.find("</s>") == 2 && t.find(" h") == 268 && t.find("hel") == -1);
  const Tokenizer b = make_tokenizer(byte_vocabulary("llama3", kHelloMerges));
  check_eq(b.description(), "byte-level BPE, llama3 rule");
  check(b.find(" hello") == 261 && b.find("\xff") == 255 && b.bos() == -1 && !b.is_end(-1));
}

void streams_whole_characters() {
  const Tokenizer t = make_tokenizer(byte_vocabulary("gpt2", {}));
  StreamDecoder stream(t);
  check_eq(stream.push('a'), "a");
  check_eq(stream.push(0xe4), "");
  check_eq(stream.push(0xbd), "");
  check_eq(stream.push(0xa0), "\xe4\xbd\xa0");
  check_eq(stream.push(0xf0), "");
  check_eq(stream.push('b'),
           "\xef\xbf\xbd"
           "b",
           "a character that was broken off");
  check_eq(stream.push(0xc3), "");
  check_eq(stream.flush(), "\xef\xbf\xbd");
  check_eq(stream.flush(), "");
}

std::string random_text(std::mt19937& random, bool valid) {
  std::string text;
  const auto below = [&](unsigned n) { return static_cast<uint32_t>(random() % n); };
  const std::array<uint32_t, 4> limits = {0x80, 0x500, 0x11000, 0x110000};
  for (uint32_t n = below(40); n > 0; --n) {
    const uint32_t c = below(limits[below(4)]);
    if (!valid)
      text += static_cast<char>(below(256));
    else if (below(3) == 0)
      text += " \n\t'."[below(5)];
    else if (c != 0x2581)  // the mark of a space cannot come back as itself
      append_utf8(text, c);
  }
  return text;
}

void decoding_gives_the_text_back() {
  std::mt19937 random(7);
  std::vector<Tokenizer> tokenizers;
  for (const auto pre :
       {"none", "gpt2", "llama3", "qwen2", "falcon", "starcoder", "mpt", "generic"})
    tokenizers.push_back(make_tokenizer(byte_vocabulary(pre, kHelloMerges)));
  tokenizers.push_back(make_tokenizer(hello_vocabulary()));
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random, i % 2 == 0);
    for (const Tokenizer& t : tokenizers)
      check(t.decode(t.encode(text)) == text, t.description() + " of " + text);
  }
}

// Each of these would take minutes if any step were quadratic.
void long_words_are_no_trouble() {
  std::vector<std::string> doubling;
  for (size_t n = 1; n <= 512; n *= 2)
    doubling.push_back(std::string(n, 'a') + ' ' + std::string(n, 'a'));
  Vocabulary v = byte_vocabulary("llama3", doubling);
  add_token(v, std::string(1000, '<'), TokenKind::control);
  const Tokenizer t = make_tokenizer(v);
  constexpr size_t kBytes = size_t{1} << 20;
  check_eq(t.encode(std::string(kBytes, 'a')).size(), kBytes / 1024);
  check_eq(t.encode(std::string(kBytes, ' ')).size(), kBytes);
  check_eq(t.encode(std::string(kBytes, '<'), Special::parse).size(),
           kBytes / 1000 + kBytes % 1000);
  std::string marks;
  while (marks.size() < kBytes) marks += "\xcc\x81";
  check_eq(t.encode(marks).size(), marks.size());
  const Tokenizer sp = make_tokenizer(hello_vocabulary());
  check_eq(sp.encode(std::string(kBytes, 'l')).size(), kBytes / 2 + 1);
}

// Texts that are separated by a line, and the ids of each on a line of its own.
void check_published_ids(const Tokenizer& tokenizer, const std::string& name) {
  const std::string base = shared("data/vocab/ggml-vocab-" + name + ".gguf.inp");
  const std::string texts = read_file(base);
  std::istringstream lines(read_file(base.substr(0, base.size() - 3) + "out"));
  const std::string separator = "\n__ggml_vocab_test__\n";
  const Tokenizer stored =
      make_tokenizer(vocabulary_from_json(vocabulary_to_json(tokenizer.impl().vocabulary), name));
  int n = 0;
  for (size_t pos = 0; pos < texts.size(); ++n) {
    const size_t end = std::min(texts.find(separator, pos), texts.size());
    const std::string text = texts.substr(pos, end - pos);
    pos = end + separator.size();
    std::string line;
    if (!std::getline(lines, line)) break;
    std::istringstream numbers(line);
    const std::vector<Token> expected{std::istream_iterator<Token>(numbers), {}};
    check_eq(ids(tokenizer, text), joined(expected), name + " of " + text);
    check_eq(ids(stored, text), joined(expected), name + ", stored and read again");
    check_eq(tokenizer.decode(expected), text, name);
  }
  check(n >= 40, "texts were compared");
}

void published_ids_gguf() {
  for (const char* name : {"falcon", "gpt-2", "llama-spm", "mpt", "phi-3", "starcoder"}) {
    const std::string path = shared(std::string("data/vocab/ggml-vocab-") + name + ".gguf");
    check_published_ids(make_tokenizer(read_vocabulary(open_checkpoint(path))), name);
  }
}
void published_ids_llama3() {
  const std::string path = shared("data/hf/llama-3");
  check_published_ids(make_tokenizer(read_vocabulary_from_directory(path)), "llama-bpe");
}
void published_ids_qwen2() {
  const std::string path = shared("data/hf/qwen2.5");
  const Tokenizer t = make_tokenizer(read_vocabulary_from_directory(path));
  check_published_ids(t, "qwen2");
  check_eq(ids(t, "h\u00e9llo e\u0301"), "71 18503 385 3958", "composed first");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"sentencepiece merges the best score first", sentencepiece_merges_best_score_first},
              {"sentencepiece falls back to bytes", sentencepiece_falls_back_to_bytes},
              {"sentencepiece prefix follows its steps", sentencepiece_prefix_follows_its_steps},
              {"sentencepiece merges by rank", sentencepiece_merges_by_rank},
              {"byte-level BPE merges by rank", byte_bpe_merges_by_rank},
              {"rules cut words", rules_cut_words},
              {"classes are those of Unicode", classes_are_those_of_unicode},
              {"special tokens are cut first", special_tokens_are_cut_first},
              {"many special tokens are no trouble", many_special_tokens_are_no_trouble},
              {"text never becomes a special token", text_never_becomes_a_special_token},
              {"decodes to bytes", decodes_to_bytes},
              {"says what it is", says_what_it_is},
              {"streams whole characters", streams_whole_characters},
              {"decoding gives the text back", decoding_gives_the_text_back},
              {"long words are no trouble", long_words_are_no_trouble},
              {"published ids: GGUF", published_ids_gguf},
              {"published ids: Llama 3", published_ids_llama3},
              {"published ids: Qwen2", published_ids_qwen2}});
}
