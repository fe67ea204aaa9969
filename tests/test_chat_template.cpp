#include "text/chat_template.h"

#include "check.h"
#include "vocabularies.h"

namespace {

using namespace nibble;
using namespace nibble::test;

// The prompt as text, with the model's tokens written as {bos} and {eos}.
std::string text_of(std::span<const PromptPart> parts) {
  std::string text;
  for (const PromptPart& part : parts) {
    text += part.text;
    if (part.symbol == PromptPart::Symbol::bos) text += "{bos}";
    if (part.symbol == PromptPart::Symbol::eos) text += "{eos}";
  }
  return text;
}

std::string render(const char* name, const std::vector<Message>& messages) {
  const ChatTemplate* style = find_chat_template(name);
  check(style != nullptr, name);
  return text_of(render_chat(*style, messages));
}

const std::vector<Message> kQuestion = {{Role::user, " Hi\n"}};
const std::vector<Message> kTwoTurns = {{Role::system, "Be kind."},
                                        {Role::user, "Hi"},
                                        {Role::assistant, "Hello!"},
                                        {Role::user, "Bye"}};

void chatml() {
  check_eq(render("chatml", kQuestion),
           "<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n");
  const std::string rest =
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
      "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n";
  for (const char* name : {"chatml", "qwen2", "qwen2.5", "smollm2"})
    check_eq(render(name, kTwoTurns), "<|im_start|>system\nBe kind.<|im_end|>\n" + rest);
  check_eq(render("qwen2.5", {{Role::user, "Hi"}}),
           "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
           "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

void llama3() {
  check_eq(render("llama3", kQuestion),
           "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
           "<|start_header_id|>assistant<|end_header_id|>\n\n");
  check_eq(render("llama3", kTwoTurns),
           "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
           "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
           "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
           "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
           "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

void llama2() {
  check_eq(render("llama2", kQuestion), "{bos}[INST] Hi [/INST]");
  check_eq(render("llama2", kTwoTurns),
           "{bos}[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello! {eos}"
           "{bos}[INST] Bye [/INST]");
}

void mistral() {
  check_eq(render("mistral", kQuestion), "[INST]  Hi\n [/INST]");
  check_eq(render("mistral", kTwoTurns),
           "[INST] Be kind.\n\nHi [/INST] Hello!{eos}[INST] Bye [/INST]");
  check_eq(render("mistral-v1", kTwoTurns),
           " [INST] Be kind.\n\nHi [/INST] Hello!{eos} [INST] Bye [/INST]");
  check_eq(render("mistral", {{Role::system, "Be kind."}}), "[INST] Be kind.\n\n [/INST]");
}

void phi3() {
  check_eq(render("phi3", kTwoTurns),
           "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
           "<|user|>\nBye<|end|>\n<|assistant|>\n");
}

void zephyr() {
  check_eq(render("zephyr", kTwoTurns),
           "<|system|>\nBe kind.{eos}\n<|user|>\nHi{eos}\n<|assistant|>\nHello!{eos}\n"
           "<|user|>\nBye{eos}\n<|assistant|>\n");
}

void vicuna() {
  check_eq(render("vicuna", {{Role::user, "Hi"}}),
           "A chat between a curious user and an artificial intelligence assistant. The assistant "
           "gives helpful, detailed, and polite answers to the user's questions. "
           "USER: Hi ASSISTANT:");
  check_eq(render("vicuna", kTwoTurns),
           "Be kind. USER: Hi ASSISTANT: Hello!{eos}USER: Bye ASSISTANT:");
  const auto stops = chat_template_stops(*find_chat_template("vicuna"));
  check(stops.size() == 1 && std::string(stops[0]) == "USER:");
  check(chat_template_stops(*find_chat_template("llama3")).empty());
}

void bundled() {
  check_eq(render("nibble", kQuestion), "<|user|>\nHi<|end|>\n<|assistant|>\n");
  check_eq(render("nibble", kTwoTurns),
           "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
           "<|user|>\nBye<|end|>\n<|assistant|>\n");
}

void longer_starts_with_shorter() {
  for (const std::string& name : chat_template_names()) {
    const std::string longer = render(name.c_str(), kTwoTurns);
    const std::string shorter = render(name.c_str(), {kTwoTurns[0], kTwoTurns[1]});
    check(longer.starts_with(shorter), name + ": " + longer);
    check_eq(chat_template_name(*find_chat_template(name)), name);
  }
  check(find_chat_template("none") == nullptr && find_chat_template("") == nullptr);
}

void recognises_published_texts() {
  const auto name = [](std::string_view jinja) -> std::string {
    const ChatTemplate* style = recognise_chat_template(jinja);
    return style ? chat_template_name(*style) : "";
  };
  check_eq(name("{{ '<|im_start|>' + message['role'] + '\\n' + content + '<|im_end|>' }}"),
           "chatml");
  check_eq(name("<|im_start|>system<|im_sep|> <|im_end|>"), "", "another format with like marks");
  check_eq(name("{{'<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n'}}"), "qwen2");
  check_eq(name("{{ bos_token }}{{ '<|' + message['role'] + '|>\\n' + message['content'] | trim + "
                "'<|end|>\\n' }}"),
           "nibble");
  check_eq(name("{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n'}}"), "phi3");
  check_eq(name("{{ '<|user|>\n' + message['content'] + eos_token }} '<|assistant|>'"), "zephyr");
  check_eq(name("{{ bos_token + '[INST] ' + content }} '<<SYS>>\\n'"), "llama2");
  check_eq(name("{{ '[INST] ' + message['content'] + ' [/INST]' }}"), "mistral");
  check_eq(name("{{- \" [INST] \" + message[\"content\"] + \" [/INST]\" }}"), "mistral-v1");
  check_eq(name("{{ '[INST] ' + c + ' [/INST]' }}[AVAILABLE_TOOLS]"), "");
  check_eq(name("{{ 'USER: ' + c + ' ASSISTANT:' }}"), "vicuna");
  check_eq(name(""), "");
}

void recognises_models() {
  const auto name = [](const std::string& jinja) {
    const ChatTemplate* style = recognise_chat_template(jinja);
    return std::string(style ? chat_template_name(*style) : "none");
  };
  check_eq(name(read_vocabulary_from_directory(shared("data/hf/llama-3")).chat_template), "llama3");
  check_eq(name(read_vocabulary_from_directory(shared("data/hf/qwen2.5")).chat_template),
           "qwen2.5");
  check_eq(name(read_vocabulary_from_directory(shared("model/nibble-chat")).chat_template),
           "nibble");
  const std::string phi3 = shared("data/vocab/ggml-vocab-phi-3.gguf");
  check_eq(name(read_vocabulary(open_checkpoint(phi3)).chat_template), "phi3");
}

// Ids: 256 "he", 257 <|bos|>, 258 <|user|>, 259 <|end|>.
Vocabulary chat_vocabulary() {
  Vocabulary v = byte_vocabulary("gpt2", {"h e"});
  for (const char* text : {"<|bos|>", "<|user|>", "<|end|>"})
    add_token(v, text, TokenKind::control);
  v.bos = 257;
  v.eos = 259;
  return v;
}

void encodes_prompts() {
  const std::vector<PromptPart> parts = {{.text = "<|user|>h", .markup = true},
                                         {.text = "e<|end|>"},
                                         {.text = "<|end|>", .markup = true}};
  // Words cross the borders of parts; the user's <|end|> is text.
  const std::string ids = "258 256 60 124 101 110 100 124 62 259";
  Vocabulary v = chat_vocabulary();
  check_eq(joined(encode_prompt(make_tokenizer(v), parts)), ids);
  v.add_bos = true;
  check_eq(joined(encode_prompt(make_tokenizer(v), parts)), "257 " + ids);
  v.add_bos = false;
  v.chat_template = "{{ bos_token }}";
  check_eq(joined(encode_prompt(make_tokenizer(v), parts)), "257 " + ids);
  check_eq(joined(encode_prompt(make_tokenizer(v), {})), "257");
}

void encodes_symbols() {
  using Symbol = PromptPart::Symbol;
  const std::vector<PromptPart> parts = {{.text = {}, .markup = true, .symbol = Symbol::bos},
                                         {.text = "x", .markup = true},
                                         {.text = {}, .markup = true, .symbol = Symbol::eos}};
  Vocabulary v = chat_vocabulary();
  v.add_bos = true;
  v.chat_template = "bos_token";
  check_eq(joined(encode_prompt(make_tokenizer(v), parts)), "257 120 259", "one BOS, not two");
  v = byte_vocabulary("gpt2", {});
  check_eq(joined(encode_prompt(make_tokenizer(v), parts)), "120", "a model without such tokens");
}

void encodes_llama2_turns() {
  // 259 "_", 260 "[", 261 "I", 262 "_[", 263 "x".
  const Tokenizer t = make_tokenizer(sentencepiece_vocabulary({"_", "[", "I", "_[", "x"}));
  const std::vector<PromptPart> parts = {
      {.text = {}, .markup = true, .symbol = PromptPart::Symbol::bos},
      {.text = "[I ", .markup = true},
      {.text = "</s>x"},
      {.text = " x", .markup = true},
      {.text = {}, .markup = true, .symbol = PromptPart::Symbol::eos}};
  // <s> _[ I _ < / s > x _ x </s>: no second "_" at the borders, one after the token.
  check_eq(joined(encode_prompt(t, parts)), "1 262 261 259 63 50 118 65 263 259 263 2");
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"chatml", chatml},
              {"llama3", llama3},
              {"llama2", llama2},
              {"mistral", mistral},
              {"phi3", phi3},
              {"zephyr", zephyr},
              {"vicuna", vicuna},
              {"the bundled model's", bundled},
              {"a longer conversation starts with the shorter", longer_starts_with_shorter},
              {"recognises published texts", recognises_published_texts},
              {"recognises models", recognises_models},
              {"encodes prompts", encodes_prompts},
              {"encodes symbols", encodes_symbols},
              {"encodes Llama 2 turns", encodes_llama2_turns}});
}
