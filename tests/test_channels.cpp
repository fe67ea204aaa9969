#include "chat/channels.h"

#include "chain_model.h"
#include "check.h"
#include "nibble/nibble.h"
#include "vocabularies.h"

using namespace nibble;
using namespace nibble::test;

namespace {

// What is shown of a reply whose special tokens are written as texts.
std::string shown(std::string_view reply) {
  Vocabulary v = byte_vocabulary("gpt2", {});
  for (const char* text : {"<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"})
    add_token(v, text, TokenKind::control);
  finish_vocabulary(v, "test");
  const Tokenizer tokenizer = make_tokenizer(std::move(v));
  Channels channels(tokenizer);
  check(channels.used());
  std::string out;
  for (const Token token : tokenizer.encode(reply, Special::parse))
    out += channels.push(token).value_or(tokenizer.piece(token));
  return out;
}

void shows_channels() {
  const std::string thought = "<|channel|>analysis<|message|>Hm.<|end|>";
  const std::string answer = "<|channel|>final<|message|>Yes, <b>.";
  check_eq(shown(answer), "Yes, <b>.");
  check_eq(shown(thought + "<|start|>assistant" + answer), "<think>\nHm.\n</think>\n\nYes, <b>.");
  check_eq(shown(thought + "<|start|>assistant<|channel|>commentary to=x <|message|>So<|end|>" +
                 "<|start|>assistant" + answer),
           "<think>\nHm.\n\nSo\n</think>\n\nYes, <b>.");
  check_eq(shown(thought), "<think>\nHm.");
  check_eq(shown("no channel"), "no channel");
  check_eq(shown("<|channel|>" + std::string(1000, 'x') + "<|message|>y"), "<think>\ny");
}

void finds_answers() {
  check_eq(answer_of("<think>\nHm.\n</think>\n\nYes"), "Yes");
  check_eq(answer_of("<think>\nHm."), "", "it never got there");
  check_eq(answer_of("Yes <think>\n"), "Yes <think>\n");
}

// <|end|> ends a message of the reply, not the reply.
void ends_with_return() {
  Vocabulary v = byte_vocabulary("gpt2", {});
  for (const char* text : {"<|end|>", "<|return|>", "<|call|>"})
    add_token(v, text, TokenKind::control);
  Vocabulary other = v;
  other.tokens[257] = "<|x|>";
  v.end_tokens = {256};
  finish_vocabulary(v, "test");
  check_eq(joined(v.end_tokens), "257 258");
  finish_vocabulary(other, "test");
  check_eq(joined(other.end_tokens), "256 258");
}

void chats() {
  constexpr int kReturn = ChainModel::kEnd, kChannel = 258, kMessage = 259;
  const auto reply = [&](const std::string& channel) {
    std::vector<int> tokens = {kChannel};
    tokens.insert(tokens.end(), channel.begin(), channel.end());
    tokens.insert(tokens.end(), {kMessage, 'O', 'K', kReturn});
    const ChainModel files(tokens, {"<|start|>", "<|return|>", "<|channel|>", "<|message|>"});
    files.write_config(R"({"chat_template":"{{ messages[-1].content + '\\n' }}"})");
    Chat chat(Model(files.path(), {.weights = WeightType::f32}));
    const Reply said = chat.say("hi");
    check(said.stop == StopReason::end);
    return said.text + "|" + chat.messages().back().content;
  };
  check_eq(reply("final"), "OK|OK");
  check_eq(reply("mus"), "<think>\nOK|", "a template takes answers");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"shows channels", shows_channels},
              {"finds answers", finds_answers},
              {"ends with return", ends_with_return},
              {"chats", chats}});
}
