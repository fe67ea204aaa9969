#include <atomic>
#include <random>
#include <stdexcept>
#include <thread>

#include "base/utf8.h"
#include "chain_model.h"
#include "chat/stop_filter.h"
#include "check.h"
#include "nibble/nibble.h"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr std::string_view kReply = "Sure, it\xc3\xa9.";
constexpr int kReplyTokens = 11;
// <|im_start|> u s e r \n h i <|im_end|> \n <|im_start|> a s s i s t a n t \n
constexpr int kPromptTokens = 21;  // of the message "hi"

Model load(const std::string& path) {
  ModelOptions options;
  options.weights = WeightType::f32;
  options.activations = Activations::f32;
  return Model(path, options);
}
Model load(const ChainModel& files) { return load(files.path()); }

ChatOptions chatml() {
  ChatOptions options;
  options.sampling.emplace().temperature = 0;
  options.chat_template = "chatml";
  return options;
}

// ---- stop texts --------------------------------------------------------------------------------

/// What passes the filter when `text` is pushed in pieces of n bytes.
std::string filtered(const std::vector<std::string>& stops, std::string_view text, size_t n) {
  StopFilter filter(stops);
  std::string out;
  for (size_t i = 0; i < text.size(); i += n) out += filter.push(text.substr(i, n));
  return out + filter.flush();
}

void test_stop_filter() {
  for (const size_t n : {1u, 2u, 3u, 100u}) {
    check_eq(filtered({}, "abc", n), std::string("abc"));
    check_eq(filtered({"b"}, "abc", n), std::string("a"));
    check_eq(filtered({"aab"}, "aaab", n), std::string("a"), "an overlap of the text with itself");
    check_eq(filtered({"abcd"}, "xabc", n), std::string("xabc"), "a beginning is no stop text");
    check_eq(filtered({"abab", "bc"}, "xababc", n), std::string("x"), "the first to be complete");
    check_eq(filtered({"bc", "abc"}, "xabc", n), std::string("x"), "the longest that ends there");
    check_eq(filtered({"abcabd"}, "abcabcabd", n), std::string("abc"));
  }
}

void test_stop_filter_holds_back() {
  const std::vector<std::string> stops = {"USER:", "END"};
  StopFilter filter(stops);
  check_eq(filter.push("abcU"), std::string("abc"));
  check_eq(filter.push("SE"), std::string());
  check_eq(filter.push("EEN"), std::string("USEE"), "only \"EN\" may still become a stop text");
  check(!filter.stopped());
  check_eq(filter.push("D more"), std::string());
  check(filter.stopped());
  check_eq(filter.push("more"), std::string());
}

void test_stop_filter_random() {
  std::mt19937 random(1);
  const auto word = [&](size_t length) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::vector<std::string> stops = {word(1 + random() % 5), word(1 + random() % 8)};
    const std::string text = word(20);
    // The stop text that ends first, and of those the longest.
    size_t end = std::string::npos, begin = text.size();
    for (const std::string& stop : stops) {
      const size_t at = text.find(stop);
      if (at == std::string::npos || at + stop.size() > end) continue;
      begin = at + stop.size() < end ? at : std::min(begin, at);
      end = at + stop.size();
    }
    check_eq(filtered(stops, text, 1 + random() % 4), text.substr(0, begin),
             text + " with " + stops[0] + ", " + stops[1]);
  }
}

// ---- a conversation ----------------------------------------------------------------------------

void test_reply() {
  const ChainModel files(kReply);
  Chat chat(load(files), chatml());
  std::vector<std::string> pieces;
  const Reply reply = chat.say("hi", [&](std::string_view text) {
    check(is_valid_utf8(text), "half a character");
    pieces.emplace_back(text);
    return true;
  });
  check_eq(reply.text, std::string(kReply));
  check(reply.stop == StopReason::end);
  check_eq(reply.n_prompt, kPromptTokens);
  check_eq(reply.n_new, kReplyTokens);
  check_eq(pieces.size(), size_t{kReplyTokens - 1}, "characters");
  check_eq(chat.position(), kPromptTokens + kReplyTokens);
  check_eq(chat.messages().size(), size_t{2});
  check(chat.messages()[1].role == Role::assistant);
  check_eq(chat.messages()[1].content, std::string(kReply));
}

void test_cache_is_kept() {
  const ChainModel files(kReply);
  Chat chat(load(files), chatml());
  chat.say("hi");
  // New: <|im_end|> \n, then the message as before without its first reply.
  check_eq(chat.say("hi").n_prompt, 2 + kPromptTokens);
  const Reply again = chat.regenerate();
  check_eq(again.n_prompt, 1, "only the last token, for its logits");
  check_eq(again.text, std::string(kReply));
  check_eq(chat.messages().size(), size_t{4});
  chat.set_system("x");
  // <|im_start|> s y s t e m \n x <|im_end|> \n, and all else after the first token anew.
  const int all = 2 * kPromptTokens + kReplyTokens + 2 + 11;
  check_eq(chat.regenerate().n_prompt, all - 1);
  chat.set_system("");
  chat.reset();
  check_eq(chat.position(), 0);
  check_eq(chat.messages().size(), size_t{0});
  check_eq(chat.say("hi").n_prompt, kPromptTokens);
}

void test_messages_replaced() {
  const ChainModel files(kReply);
  const Model model = load(files);
  Chat first(model, chatml());
  first.say("hi");
  const std::vector<Message> saved = first.messages();
  const Reply expected = first.say("hi");

  Chat chat(model, chatml());
  chat.say("another");
  chat.set_messages(saved);
  const Reply reply = chat.say("hi");
  check_eq(reply.text, expected.text);
  check_eq(chat.position(), first.position());
  chat.set_messages({{Role::user, "hi"}});
  check_eq(chat.regenerate().text, std::string(kReply), "of a message without a reply");
  check_error([&] { chat.set_messages({{Role::user, "hi"}, {Role::system, "x"}}); }, "system");
  check_eq(chat.messages().size(), size_t{2}, "as before");
  chat.set_messages({});
  check_eq(chat.say("hi").text, std::string(kReply));

  ChatOptions strict = chatml();
  strict.chat_template =
      "{% for m in messages %}{% if m.role == 'assistant' and loop.first %}{{ raise_exception("
      "'no question') }}{% endif %}{{ m.content }}{% endfor %}";
  Chat refusing(model, strict);
  check_error([&] { refusing.set_messages({{Role::assistant, "x"}}); }, "no question");
  check(refusing.messages().empty());
}

// A template that shortens earlier replies, as those of thinking models do.
void test_rewritten_history() {
  const ChainModel files(kReply);
  ChatOptions options = chatml();
  options.chat_template =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split(',')[-1] if m.role == "
      "'assistant' else m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n{{ '' }}";
  Chat chat(load(files), options);
  check_eq(chat.say("hi").n_prompt, kPromptTokens);
  // " it\xc3\xa9." in place of the reply, <|im_end|> \n, and the message.
  const Reply reply = chat.say("hi");
  check_eq(reply.n_prompt, 6 + 2 + kPromptTokens);
  check_eq(reply.text, std::string(kReply));
  check_eq(chat.messages()[1].content, std::string(kReply), "the conversation itself is whole");
}

void test_cached_replies_are_exact() {
  const Model model = load(shared("data/stories260K/stories260K.gguf"));
  ChatOptions options = chatml();
  options.max_tokens = 30;
  Chat chat(model, options);
  chat.say("Once upon a time");
  const std::string second = chat.say("there was a dog").text;
  check(!second.empty());
  check_eq(chat.regenerate().text, second);
  chat.set_system("x");  // what is cached after the first tokens is of no use now
  check(chat.regenerate().n_new > 0);
  chat.set_system("");
  check_eq(chat.regenerate().text, second, "everything evaluated anew");
}

void test_stop_text() {
  const ChainModel files(kReply);
  const Model model = load(files);
  const auto reply_with = [&](std::vector<std::string> stops) {
    ChatOptions options = chatml();
    options.stop = std::move(stops);
    std::string streamed;
    Chat chat(model, options);
    const Reply reply = chat.say("hi", [&](std::string_view text) {
      streamed += text;
      return true;
    });
    check_eq(streamed, reply.text, "what was streamed");
    check_eq(chat.messages().back().content, reply.text);
    return reply;
  };
  Reply reply = reply_with({"e, "});  // spans three tokens
  check_eq(reply.text, std::string("Sur"));
  check(reply.stop == StopReason::stop_text);
  check_eq(reply.n_new, 6);
  reply = reply_with({", x", ".."});
  check_eq(reply.text, std::string(kReply));
  check(reply.stop == StopReason::end);
  check_eq(reply_with({"\xc3\xa9"}).text, std::string("Sure, it"));
}

void test_limits() {
  const ChainModel files(kReply);
  const Model model = load(files);
  ChatOptions options = chatml();
  options.max_tokens = 3;
  Reply reply = Chat(model, options).say("hi");
  check_eq(reply.text, std::string("Sur"));
  check(reply.stop == StopReason::length);
  check_eq(reply.n_new, 3);
  options.max_tokens = 0;
  reply = Chat(model, options).say("hi");
  check_eq(reply.text, std::string());
  check(reply.stop == StopReason::length);

  // Four positions are left for S, u, r, e; the comma needs none any more.
  options.max_tokens = -1;
  options.session.context = kPromptTokens + 4;
  Chat chat(model, options);
  reply = chat.say("hi");
  check_eq(reply.text, std::string("Sure,"));
  check(reply.stop == StopReason::context);
  check_eq(chat.position(), chat.context());
}

void test_overflow_keeps_conversation() {
  const ChainModel files(kReply);
  ChatOptions options = chatml();
  options.session.context = kPromptTokens + 20;
  Chat chat(load(files), options);
  chat.say("hi");
  const int position = chat.position();
  check_error([&] { chat.say("hi"); }, "no room in a context of 41");
  check_eq(chat.messages().size(), size_t{2});
  check_eq(chat.position(), position);
  check_eq(chat.regenerate().text, std::string(kReply));
  check_error([&] { chat.say(std::string(100000, 'x')); }, "prompt");
  chat.reset();
  check_error([&] { chat.regenerate(); }, "no message to answer");
  check_eq(chat.say("hi").n_prompt, kPromptTokens);
}

void test_refused_text() {
  const ChainModel files(kReply);
  Chat chat(load(files), chatml());
  int calls = 0;
  const Reply reply = chat.say("hi", [&](std::string_view) { return ++calls < 2; });
  check(reply.stop == StopReason::cancelled);
  check_eq(reply.text, std::string("Su"));
  check_eq(calls, 2);
  check_eq(chat.messages().back().content, std::string("Su"), "as far as it came");

  const auto broken = [](std::string_view) -> bool { throw std::runtime_error("mine"); };
  bool thrown = false;
  try {
    chat.say("more", broken);
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  check(thrown);
  check_eq(chat.messages().size(), size_t{2}, "as before");
  check_eq(chat.regenerate().text, std::string(kReply));
}

void test_stop() {
  const ChainModel files("abcdefgh", 'a');  // without an end
  ChatOptions options = chatml();
  options.session.context = 1 << 20;
  Chat chat(load(files), options);
  chat.stop();  // nothing runs: no effect
  Reply reply = chat.say("hi", [&](std::string_view text) {
    if (text == "c") chat.stop();
    return true;
  });
  check(reply.stop == StopReason::cancelled);
  check_eq(reply.text, std::string("abc"));

  std::atomic<bool> done = false;
  std::atomic<int> characters = 0;
  std::thread other([&] {
    while (characters < 3) std::this_thread::yield();
    while (!done) chat.stop();
  });
  reply = chat.say("hi", [&](std::string_view) { return ++characters > 0; });
  done = true;
  other.join();
  check(reply.stop == StopReason::cancelled);
  check(reply.n_new >= 3);

  // A stop that came too late is no harm to the next turn.
  chat.stop();
  reply = chat.say("hi", [](std::string_view text) { return text != "h"; });
  check_eq(reply.text, std::string("abcdefgh"));
}

void test_stop_in_prefill() {
  const ChainModel files(kReply);
  ChatOptions options = chatml();
  options.session.context = 400000;
  options.session.batch = 16;
  Chat chat(load(files), options);
  std::atomic<bool> done = false;
  std::thread other([&] {
    while (!done) chat.stop();
  });
  const Reply reply = chat.say(std::string(300000, 'x'));
  done = true;
  other.join();
  check(reply.stop == StopReason::cancelled);
  check_eq(reply.n_new, 0);
  check_eq(reply.n_prompt, chat.position());
  check(reply.n_prompt < 300000);
  check_eq(chat.messages().size(), size_t{2});
  chat.reset();
  check_eq(chat.say("hi").text, std::string(kReply));
}

void test_special_text_is_text() {
  const ChainModel files(kReply);
  Chat chat(load(files), chatml());
  check_eq(chat.say("<|im_end|>").n_prompt, kPromptTokens - 2 + 10);
}

void test_space_before_reply() {
  const ChainModel files(" \tyes");
  check_eq(Chat(load(files), chatml()).say("hi").text, std::string("yes"));
}

void test_options() {
  ChainModel files(kReply);
  ChatOptions options = chatml();
  const auto refused = [&](std::string_view part) {
    const Model model = load(files);
    check_error([&] { Chat chat(model, options); }, part);
  };
  options.max_tokens = -2;
  refused("max_tokens is -2");
  options = chatml();
  options.stop = {""};
  refused("stop text: is empty");
  options.stop = {"\xff"};
  refused("stop text: is not valid UTF-8");
  options = chatml();
  options.chat_template = "nonsense";
  refused("chatml");
  options.chat_template = "{{ nonsense }}";
  refused("chatml");
  options.chat_template.clear();
  refused("without a template");
  files.write_config(R"({"chat_template": "{{ nonsense }}"})");
  refused("chatml");
  const std::string jinja =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
      "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
      "{{ '<|im_start|>assistant\\n' }}{% endif %}";
  files.write_config(write_json(Json::Object{{"chat_template", jinja}}));
  check_eq(Chat(load(files), options).say("hi").text, std::string(kReply), "the model's own");
  options.chat_template = jinja;
  files.write_config("{}");
  check_eq(Chat(load(files), options).say("hi").text, std::string(kReply), "a text");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"stop filter", test_stop_filter},
              {"stop filter holds back", test_stop_filter_holds_back},
              {"stop filter random", test_stop_filter_random},
              {"reply", test_reply},
              {"cache is kept", test_cache_is_kept},
              {"messages replaced", test_messages_replaced},
              {"rewritten history", test_rewritten_history},
              {"cached replies are exact", test_cached_replies_are_exact},
              {"stop text", test_stop_text},
              {"limits", test_limits},
              {"overflow keeps conversation", test_overflow_keeps_conversation},
              {"refused text", test_refused_text},
              {"stop", test_stop},
              {"stop in prefill", test_stop_in_prefill},
              {"special text is text", test_special_text_is_text},
              {"space before reply", test_space_before_reply},
              {"options", test_options}});
}
