// The chat templates that are known by name: Jinja texts of our own, for models that bring none.
#include <algorithm>
#include <array>

#include "text/chat_template.h"

namespace nibble {
namespace {

/// `head` comes before `body`, so that variants of a style can share it.
struct NamedTemplate {
  const char* name;
  std::string_view head, body;
};

constexpr std::string_view kChatMl =
    R"({% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %})";

constexpr std::string_view kQwen25Head =
    R"({% if not messages or messages[0].role != 'system' %}<|im_start|>system
You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>
{% endif %})";

constexpr std::string_view kQwen2Head =
    R"({% if not messages or messages[0].role != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %})";

constexpr std::string_view kSmolLm2Head =
    R"({% if not messages or messages[0].role != 'system' %}<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
{% endif %})";

constexpr std::string_view kLlama3 =
    R"({{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %})"
    R"(<|start_header_id|>assistant<|end_header_id|>

{% endif %})";

constexpr std::string_view kLlama2 =
    R"({% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %})"
    R"({% set ns.system = ns.system ~ '<<SYS>>\n' ~ (m.content | trim) ~ '\n<</SYS>>\n\n' %})"
    R"({% elif m.role == 'user' %}{{ bos_token }}[INST] {{ ns.system }}{{ m.content | trim }} [/INST])"
    R"({% set ns.system = '' %}{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %})"
    R"({% endfor %}{% if ns.system %}{{ bos_token }}[INST] {{ ns.system }} [/INST]{% endif %})";

// Mistral writes BOS once; its first version has a space before each [INST].
constexpr std::string_view kMistralHead = "{% set begin = '[INST] ' %}";
constexpr std::string_view kMistralV1Head = "{% set begin = ' [INST] ' %}";
constexpr std::string_view kMistral =
    R"({{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %})"
    R"({% if m.role == 'system' %}{% set ns.system = ns.system ~ m.content ~ '\n\n' %})"
    R"({% elif m.role == 'user' %}{{ begin ~ ns.system ~ m.content }} [/INST])"
    R"({% set ns.system = '' %}{% else %} {{ m.content ~ eos_token }}{% endif %}{% endfor %})"
    R"({% if ns.system %}{{ begin ~ ns.system }} [/INST]{% endif %})";

constexpr std::string_view kGemma =
    R"({{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %})"
    R"({% if m.role == 'system' %}{% set ns.system = ns.system ~ (m.content | trim) ~ '\n\n' %})"
    R"({% else %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{{ ns.system }}{{ m.content | trim }}<end_of_turn>
{% set ns.system = '' %}{% endif %}{% endfor %}{% if ns.system %}<start_of_turn>user
{{ ns.system | trim }}<end_of_turn>
{% endif %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %})";

constexpr std::string_view kPhi3 =
    R"({% for m in messages %}<|{{ m.role }}|>
{{ m.content }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %})";

constexpr std::string_view kNibble =
    R"({% for m in messages %}<|{{ m.role }}|>
{{ m.content | trim }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %})";

constexpr std::string_view kPhi4 =
    R"({% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>)"
    R"({% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %})";

constexpr std::string_view kZephyr =
    R"({% for m in messages %}<|{{ m.role }}|>
{{ m.content }}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %})";

constexpr std::string_view kVicuna =
    R"({% if not messages or messages[0].role != 'system' %}A chat between a curious user and an )"
    R"(artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers )"
    R"(to the user's questions. {% endif %}{% for m in messages %}{% if m.role == 'system' %})"
    R"({{ m.content }} {% elif m.role == 'user' %}USER: {{ m.content }} {% else %})"
    R"(ASSISTANT: {{ m.content }}{{ eos_token }}{% endif %}{% endfor %})"
    R"({% if add_generation_prompt %}ASSISTANT:{% endif %})";

constexpr std::string_view kAlpaca =
    R"({% if not messages or messages[0].role != 'system' %}Below is an instruction that describes a )"
    R"(task. Write a response that appropriately completes the request.

{% endif %}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}

{% elif m.role == 'user' %}### Instruction:
{{ m.content }}

{% else %}### Response:
{{ m.content }}{{ eos_token }}

{% endif %}{% endfor %}{% if add_generation_prompt %}### Response:
{% endif %})";

constexpr std::string_view kOpenChat =
    R"({{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% else %})"
    R"(GPT4 Correct {{ m.role | title }}: {{ m.content }}{% endif %}<|end_of_turn|>{% endfor %})"
    R"({% if add_generation_prompt %}GPT4 Correct Assistant:{% endif %})";

constexpr std::string_view kCommandR =
    R"({{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>)"
    R"({{ {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>'}.get(m.role, '<|CHATBOT_TOKEN|>') }})"
    R"({{ m.content | trim }}<|END_OF_TURN_TOKEN|>{% endfor %}{% if add_generation_prompt %})"
    R"(<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %})";

constexpr std::string_view kGranite =
    R"({% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>
{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %})";

constexpr std::array kTemplates = {NamedTemplate{"llama3", {}, kLlama3},
                                   NamedTemplate{"qwen2.5", kQwen25Head, kChatMl},
                                   NamedTemplate{"qwen2", kQwen2Head, kChatMl},
                                   NamedTemplate{"smollm2", kSmolLm2Head, kChatMl},
                                   NamedTemplate{"chatml", {}, kChatMl},
                                   NamedTemplate{"nibble", {}, kNibble},
                                   NamedTemplate{"phi3", {}, kPhi3},
                                   NamedTemplate{"phi4", {}, kPhi4},
                                   NamedTemplate{"gemma", {}, kGemma},
                                   NamedTemplate{"zephyr", {}, kZephyr},
                                   NamedTemplate{"llama2", {}, kLlama2},
                                   NamedTemplate{"mistral-v1", kMistralV1Head, kMistral},
                                   NamedTemplate{"mistral", kMistralHead, kMistral},
                                   NamedTemplate{"vicuna", {}, kVicuna},
                                   NamedTemplate{"alpaca", {}, kAlpaca},
                                   NamedTemplate{"openchat", {}, kOpenChat},
                                   NamedTemplate{"command-r", {}, kCommandR},
                                   NamedTemplate{"granite", {}, kGranite}};

}  // namespace

std::string named_chat_template(std::string_view name) {
  const auto* found = std::ranges::find(kTemplates, name, &NamedTemplate::name);
  if (found == kTemplates.end()) return {};
  return std::string(found->head) + std::string(found->body);
}

std::vector<std::string> chat_template_names() {
  std::vector<std::string> names;
  for (const NamedTemplate& style : kTemplates) names.emplace_back(style.name);
  return names;
}

}  // namespace nibble
