"""Chat templates in the manner of families of 2025, for make_chat_cases.py: (name, Jinja text,
whether its cases also have tools or thoughts)."""

RECENT = [
    ("Phi-4 mini", "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}"
                   "{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}"
                   "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
                   "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}", "tools of a message"),
    ("LLaMA 3.2", """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""", ""),
    ("Command-R7B", """{{ bos_token }}{% set ns = namespace(preamble=none, rest=messages) %}
{%- if messages[0].role == 'system' %}{% set ns.preamble = messages[0].content %}{% set ns.rest = messages[1:] %}{% endif %}
<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># System Preamble
{% if documents %}You have documents.
{% for doc in documents %}[{{ loop.index0 }}] {{ doc.title|upper }}: {{ doc.text|truncate(9, true) }}
{% endfor %}{% endif %}
{%- if ns.preamble %}

# User Preamble
{{ ns.preamble }}{% endif %}<|END_OF_TURN_TOKEN|>
{%- for message in ns.rest %}
{%- if message.role|lower == 'user' %}<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ message.content }}<|END_OF_TURN_TOKEN|>
{%- elif message.role|lower in ['assistant', 'chatbot'] %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>{{ message.content }}<|END_RESPONSE|><|END_OF_TURN_TOKEN|>{% endif %}
{%- endfor %}{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}""", "documents"),
    ("GLM 4", """[gMASK]<sop>
{%- if tools -%}
<|system|>
# Tools
{% for tool in tools %}
    {%- set function = tool.function if tool.get("function") else tool %}

## {{ function.name }}

{{ function | tojson(indent=4, ensure_ascii=False) }}
Answer with the name, then with arguments in JSON.
{%- endfor %}
{%- endif -%}
{%- for msg in messages %}
    {%- if msg.role == 'system' %}
<|system|>
{{ msg.content }}
    {%- endif %}
{%- endfor %}
{%- for message in messages if message.role != 'system' %}
    {%- set role = message['role'] %}
    {%- set content = message['content'] %}
    {%- set thought = message.get("thought") %}
    {%- if role == 'user' %}
<|user|>
{{ content }}
    {%- elif role == 'assistant' and message.tool_calls is not defined %}
<|assistant|>
{%- if thought %}<think>{{ thought }}</think>{% endif %}
{{ content }}
    {%- elif role == 'assistant' %}
        {%- for call in message.tool_calls %}
<|assistant|>{{ call.function.name }}
{{ call.function.arguments | tojson }}
        {%- endfor %}
    {%- elif role == 'tool' %}
<|observation|>
{{ content }}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}<|assistant|>{% endif %}""", "tools"),
    ("EXAONE 4", """{%- if not skip_think is defined %}{%- set skip_think = true %}{%- endif %}
{%- set role_indicators = {'user': '[|user|]\\n', 'assistant': '[|assistant|]\\n', 'system': '[|system|]\\n', 'tool': '[|tool|]\\n'} %}
{%- set end_of_turn = '[|endofturn|]\\n' %}
{%- macro available_tools(tools) %}
    {{- "# Available Tools" }}
    {%- for tool in tools %}
        {{- "\\n<tool>" }}
        {{- tool | tojson(ensure_ascii=False) | safe }}
        {{- "</tool>" }}
    {%- endfor %}
{%- endmacro %}
{%- set ns = namespace(last_query_index = messages|length - 1) %}
{%- for message in messages %}
    {%- if message.role == "user" and message.content is string %}{%- set ns.last_query_index = loop.index0 -%}{%- endif %}
{%- endfor %}
{%- for i in range(messages | length) %}
    {%- set msg = messages[i] %}
    {%- set role = msg.role %}
    {%- if role not in role_indicators %}{{- raise_exception('Unknown role: ' ~ role) }}{%- endif %}
    {%- if i == 0 %}
        {%- if role == 'system' %}
            {{- role_indicators['system'] }}{{- msg.content }}
            {%- if tools is defined and tools %}{{- "\\n\\n" }}{{- available_tools(tools) }}{%- endif %}
            {{- end_of_turn -}}
            {%- continue %}
        {%- elif tools is defined and tools %}
            {{- role_indicators['system'] }}{{- available_tools(tools) }}{{- end_of_turn -}}
        {%- endif %}
    {%- endif %}
    {%- if role == 'assistant' %}
        {{- role_indicators['assistant'] }}
        {%- if msg.content %}
            {%- if "</think>" in msg.content %}
                {%- set content = msg.content.split('</think>')[-1].strip() %}
                {%- set thoughts = msg.content.split('</think>')[0].strip() %}
                {%- if i > ns.last_query_index and not skip_think %}{{- thoughts }}{{- "\\n</think>\\n\\n" }}{%- else %}{{- "<think>\\n\\n</think>\\n\\n" }}{%- endif %}
                {{- content }}
            {%- else %}
                {{- msg.content }}
            {%- endif %}
        {%- endif %}
        {%- if msg.tool_calls %}
            {%- for tool_call in msg.tool_calls %}
                {{- '<tool_call>{"name": "' ~ tool_call.function.name ~ '", "arguments": ' ~ (tool_call.function.arguments | tojson(ensure_ascii=False)) ~ '}</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- end_of_turn -}}
    {%- elif role == "tool" %}
        {%- if i == 0 or messages[i - 1].role != "tool" %}{{- role_indicators['tool'] }}{%- endif %}
        {{- '<tool_result>' ~ msg.content ~ '</tool_result>' }}
        {%- if loop.last or messages[i + 1].role != "tool" %}{{- end_of_turn -}}{%- else %}{{- "\\n" }}{%- endif %}
    {%- else %}
        {{- role_indicators[role] }}{{- msg.content }}{{- end_of_turn -}}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- role_indicators['assistant'] }}
    {%- if enable_thinking is defined and enable_thinking is true %}{{- "<think>\\n" }}{%- else %}{{- "<think>\\n\\n</think>\\n\\n" }}{%- endif %}
{%- endif %}""", "tools and thoughts"),
    ("OLMo 3", """{%- set has_system = messages|selectattr('role', 'equalto', 'system')|list|length > 0 -%}
{%- if not has_system -%}
    {{- '<|im_start|>system\\nYou are a helper with no functions. <functions></functions><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {{- '<|im_start|>system\\n' + message['content'] -}}
        {%- if message.get('functions', none) is not none -%}
            {{- ' <functions>' + message['functions'] + '</functions><|im_end|>\\n' -}}
        {%- else -%}
            {{- ' No functions. <functions></functions><|im_end|>\\n' -}}
        {%- endif -%}
    {%- elif message['role'] == 'user' -%}
        {{- '<|im_start|>user\\n' + message['content'] + '<|im_end|>\\n' -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' -}}
        {%- if message.get('content', none) is not none -%}{{- message['content'] -}}{%- endif -%}
        {%- if not loop.last -%}{{- '<|im_end|>' + '\\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}
    {%- endif -%}
    {%- if loop.last and add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
{%- endfor -%}""", ""),
    ("Seed-OSS", """{# effort #}
{%- set budget_reflections = {0: 0, 512: 128, 1024: 256} -%}
{%- set ns = namespace(interval=none) -%}
{%- if thinking_budget is defined -%}
    {%- for k, v in budget_reflections | dictsort -%}
        {%- if ns.interval is none and thinking_budget <= k -%}{%- set ns.interval = v -%}{%- endif -%}
    {%- endfor -%}
{%- endif -%}
{%- if messages[0]["role"] == "system" %}
{{ bos_token + "system" }}
{{ messages[0]["content"] + eos_token }}
{%- endif %}
{%- if ns.interval is not none %}
{{ bos_token }}system
{% if thinking_budget == 0 %}Answer at once.{% else %}Think for {{ thinking_budget }} tokens, and look at it after each {{ ns.interval }}.{% endif %}
{{- eos_token }}
{%- endif %}
{%- for message in messages %}
{%- if message.role in ["user", "system"] and not (loop.first and message.role == "system") %}
{{ bos_token + message.role }}
{{ message.content + eos_token }}
{%- elif message.role == "assistant" %}
{{ bos_token + message.role }}
{%- if message.reasoning_content is defined and message.reasoning_content is string and message.reasoning_content | trim | length > 0 %}
{{ "<seed:think>" + message.reasoning_content | trim + "</seed:think>" }}
{%- endif %}
{{ message.content | trim + eos_token }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{ bos_token + "assistant" }}
{%- if thinking_budget == 0 %}
{{ "<seed:think>\\n</seed:think>" }}
{%- endif %}
{%- endif %}""", "budget"),
    ("ERNIE 4.5", """{%- if not add_generation_prompt is defined -%}{%- set add_generation_prompt = true -%}{%- endif -%}
{%- if not cls_token is defined -%}{%- set cls_token = "<|begin_of_sentence|>" -%}{%- endif -%}
{%- if not sep_token is defined -%}{%- set sep_token = "<|end_of_sentence|>" -%}{%- endif -%}
{{- cls_token -}}
{%- for message in messages -%}
    {%- if message["role"] == "user" -%}
        {{- "User: " + message["content"] + "\\n" -}}
    {%- elif message["role"] == "assistant" -%}
        {{- "Assistant: " + message["content"] + sep_token -}}
    {%- elif message["role"] == "system" -%}
        {{- message["content"] + "\\n" -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "Assistant: " -}}
{%- endif -%}""", ""),
    ("StarCoder 2", """{{bos_token}}{{'Answer with code.\\n\\n'}}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{ raise_exception('System messages are not allowed in this template.') }}
    {%- else %}
        {%- if message['role'] == 'user' %}
{{'### Instruction\\n' + message['content'] + '\\n\\n'}}
        {%- else %}
{{'### Response\\n' + message['content'] + eos_token + '\\n\\n'}}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{{'### Response\\n'}}""", "no system"),
]
