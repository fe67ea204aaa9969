#include "text/messages.h"

#include "nibble/error.h"

namespace nibble {

std::string_view stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

const char* role_name(Role role) {
  switch (role) {
    case Role::system:
      return "system";
    case Role::user:
      return "user";
    case Role::assistant:
      break;
  }
  return "assistant";
}

std::vector<Message> read_messages(const Json& list, const std::string& where) {
  std::vector<Message> messages;
  for (const Json& entry : list.as_array(where)) {
    const Json* role = entry.find("role");
    const Json* content = entry.find("content");
    if (!role || !content) throw Error(where, "a message lacks \"role\" or \"content\"");
    Message message;
    const std::string& name = role->as_string(where);
    if (name == "system")
      message.role = Role::system;
    else if (name == "assistant")
      message.role = Role::assistant;
    else if (name != "user")
      throw Error(where, "the role is \"" + name + "\", expected system, user or assistant");
    message.content = content->as_string(where);
    messages.push_back(std::move(message));
  }
  return messages;
}

std::string write_conversation(std::span<const Message> messages) {
  Json::Array list;
  for (const Message& m : messages)
    list.push_back(Json::Object{{"role", role_name(m.role)}, {"content", m.content}});
  return write_json(Json::Object{{"messages", std::move(list)}}) + "\n";
}

std::vector<Message> read_conversation(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  const Json* list = json.find("messages");
  if (!list) throw Error(where, "holds no conversation: there are no \"messages\"");
  return read_messages(*list, where);
}

}  // namespace nibble
