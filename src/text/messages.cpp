#include "text/messages.h"

#include <iterator>

#include "nibble/error.h"

namespace nibble {
namespace {

constexpr const char* kRoleNames[] = {"system", "user", "assistant"};  // in the order of Role

}  // namespace

std::string_view stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

const char* role_name(Role role) { return kRoleNames[static_cast<size_t>(role)]; }

std::vector<Message> read_messages(const Json& list, const std::string& where) {
  std::vector<Message> messages;
  for (const Json& entry : list.as_array(where)) {
    const Json* role = entry.find("role");
    const Json* content = entry.find("content");
    if (!role || !content) throw Error(where, "a message lacks \"role\" or \"content\"");
    const std::string& name = role->as_string(where);
    const auto known = std::find(std::begin(kRoleNames), std::end(kRoleNames), name);
    if (known == std::end(kRoleNames))
      throw Error(where, "the role is \"" + name + "\", expected system, user or assistant");
    messages.push_back(
        {static_cast<Role>(known - std::begin(kRoleNames)), content->as_string(where)});
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
