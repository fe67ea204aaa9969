#include "text/jinja_parser.h"

#include <algorithm>
#include <charconv>

#include "base/number.h"
#include "load/names.h"

namespace nibble::jinja {

using Kind = Token::Kind;

bool Parser::skip_op(std::string_view text) {
  if (!at_op(text)) return false;
  ++pos_;
  return true;
}

bool Parser::skip_name(std::string_view text) {
  if (!at_name(text)) return false;
  ++pos_;
  return true;
}

void Parser::expect_op(std::string_view text) {
  if (!skip_op(text)) fail_expected("\"" + std::string(text) + "\"");
}

void Parser::expect_name(std::string_view text) {
  if (!skip_name(text)) fail_expected("\"" + std::string(text) + "\"");
}

std::string Parser::take_name() {
  if (now().kind != Kind::name) fail_expected("a name");
  return tokens_[pos_++].text;
}

void Parser::fail_expected(const std::string& what) const {
  std::string found = "the end of the template";
  if (now().kind == Kind::block_end || now().kind == Kind::print_end)
    found = "the end of the tag";
  else if (now().kind != Kind::end)
    found = printable(now().text);
  fail_at(now().line, "expected " + what + ", found " + found);
}

NameId Parser::name_id(const std::string& name) {
  const auto [it, added] = ids_.try_emplace(name, static_cast<NameId>(program_.names.size()));
  if (added) program_.names.push_back(name);
  return it->second;
}

ExprPtr Parser::node(Expr::Kind kind, int line) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr Parser::finished(ExprPtr expr) const {
  for (const ExprPtr& item : expr->items)
    if (item) expr->depth = std::max(expr->depth, item->depth + 1);
  for (const Argument& argument : expr->arguments)
    expr->depth = std::max(expr->depth, argument.value->depth + 1);
  if (expr->depth > kMaxTemplateDepth) fail_at(expr->line, "the template nests too deep");
  return expr;
}

ExprPtr Parser::binary(Op op, ExprPtr left, ExprPtr right, int line) const {
  ExprPtr expr = node(Expr::Kind::binary, line);
  expr->ops = {op};
  expr->items.push_back(std::move(left));
  expr->items.push_back(std::move(right));
  return finished(std::move(expr));
}

ExprPtr Parser::expression() {
  const Nesting nesting(*this);
  const int line = now().line;
  ExprPtr yes = logical_or();
  while (skip_name("if")) {
    ExprPtr expr = node(Expr::Kind::conditional, line);
    expr->items.push_back(logical_or());
    expr->items.push_back(std::move(yes));
    expr->items.push_back(skip_name("else") ? expression() : nullptr);
    yes = finished(std::move(expr));
  }
  return yes;
}

ExprPtr Parser::logical_or() {
  ExprPtr first = logical_and();
  if (!at_name("or")) return first;
  ExprPtr expr = node(Expr::Kind::logical_or, first->line);
  expr->items.push_back(std::move(first));
  while (skip_name("or")) expr->items.push_back(logical_and());
  return finished(std::move(expr));
}

ExprPtr Parser::logical_and() {
  ExprPtr first = logical_not();
  if (!at_name("and")) return first;
  ExprPtr expr = node(Expr::Kind::logical_and, first->line);
  expr->items.push_back(std::move(first));
  while (skip_name("and")) expr->items.push_back(logical_not());
  return finished(std::move(expr));
}

ExprPtr Parser::logical_not() {
  const Nesting nesting(*this);
  const int line = now().line;
  if (!skip_name("not")) return compare();
  ExprPtr expr = node(Expr::Kind::logical_not, line);
  expr->items.push_back(logical_not());
  return finished(std::move(expr));
}

bool Parser::compare_op(Op& op) {
  static constexpr std::pair<std::string_view, Op> kOps[] = {
      {"==", Op::equal},      {"!=", Op::not_equal}, {"<", Op::less},
      {"<=", Op::less_equal}, {">", Op::greater},    {">=", Op::greater_equal}};
  for (const auto& [text, value] : kOps) {
    if (!skip_op(text)) continue;
    op = value;
    return true;
  }
  op = Op::in;
  if (skip_name("in")) return true;
  if (!at_name("not") || next().kind != Kind::name || next().text != "in") return false;
  op = Op::not_in;
  pos_ += 2;
  return true;
}

ExprPtr Parser::compare() {
  ExprPtr first = sum();
  Op op = Op::equal;
  if (!compare_op(op)) return first;
  ExprPtr expr = node(Expr::Kind::compare, first->line);
  expr->items.push_back(std::move(first));
  do {
    expr->ops.push_back(op);
    expr->items.push_back(sum());
  } while (compare_op(op));
  return finished(std::move(expr));
}

ExprPtr Parser::sum() {
  ExprPtr left = concat();
  while (at_op("+") || at_op("-")) {
    const Token& token = tokens_[pos_++];
    left =
        binary(token.text == "+" ? Op::add : Op::subtract, std::move(left), concat(), token.line);
  }
  return left;
}

ExprPtr Parser::concat() {
  ExprPtr first = product();
  if (!at_op("~")) return first;
  ExprPtr expr = node(Expr::Kind::concat, first->line);
  expr->items.push_back(std::move(first));
  while (skip_op("~")) expr->items.push_back(product());
  return finished(std::move(expr));
}

ExprPtr Parser::product() {
  static constexpr std::pair<std::string_view, Op> kOps[] = {
      {"*", Op::multiply}, {"/", Op::divide}, {"//", Op::floor_divide}, {"%", Op::modulo}};
  ExprPtr left = power();
  while (true) {
    const auto* op = std::ranges::find_if(kOps, [&](const auto& o) { return at_op(o.first); });
    if (op == std::end(kOps)) return left;
    const int line = tokens_[pos_++].line;
    left = binary(op->second, std::move(left), power(), line);
  }
}

ExprPtr Parser::power() {
  ExprPtr left = unary();
  while (at_op("**")) {
    const int line = tokens_[pos_++].line;
    left = binary(Op::power, std::move(left), unary(), line);
  }
  return left;
}

ExprPtr Parser::unary(bool with_filters) {
  const Nesting nesting(*this);
  const int line = now().line;
  ExprPtr expr;
  if (at_op("-") || at_op("+")) {
    const Op op = at_op("-") ? Op::negate : Op::plus;
    ++pos_;
    expr = node(Expr::Kind::unary, line);
    expr->ops = {op};
    expr->items.push_back(unary(false));
    expr = finished(std::move(expr));
  } else {
    expr = primary();
  }
  expr = postfix(std::move(expr));
  return with_filters ? filters(std::move(expr)) : std::move(expr);
}

ExprPtr Parser::primary() {
  if (now().kind == Kind::name || now().kind == Kind::string || now().kind == Kind::integer ||
      now().kind == Kind::number)
    return literal();
  if (at_op("[")) return list();
  if (at_op("{")) return dict();
  if (!skip_op("(")) fail_expected("an expression");
  ExprPtr expr = tuple(true, true);
  expect_op(")");
  return expr;
}

ExprPtr Parser::literal() {
  const Token& token = tokens_[pos_++];
  ExprPtr expr = node(Expr::Kind::constant, token.line);
  const std::string& text = token.text;
  if (token.kind == Kind::string) {
    std::string value = text;
    while (now().kind == Kind::string) value += tokens_[pos_++].text;
    expr->value = Value(std::string_view(value));
  } else if (token.kind == Kind::integer) {
    int64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc())
      fail_at(token.line, "the number " + printable(text) + " is too large");
    expr->value = Value(value);
  } else if (token.kind == Kind::number) {
    const std::optional<double> value = parse_double(text);
    if (!value) fail_at(token.line, "the number " + printable(text) + " is out of range");
    expr->value = Value(*value);
  } else if (text == "true" || text == "True" || text == "false" || text == "False") {
    expr->value = Value(text == "true" || text == "True");
  } else if (text == "none" || text == "None") {
    expr->value = Value(nullptr);
  } else {
    expr->kind = Expr::Kind::name;
    expr->id = name_id(text);
    expr->text = text;
  }
  return expr;
}

ExprPtr Parser::list() {
  ExprPtr expr = node(Expr::Kind::list, now().line);
  expect_op("[");
  while (!skip_op("]")) {
    expr->items.push_back(expression());
    if (!at_op("]")) expect_op(",");
  }
  return finished(std::move(expr));
}

ExprPtr Parser::dict() {
  ExprPtr expr = node(Expr::Kind::dict, now().line);
  expect_op("{");
  while (!skip_op("}")) {
    expr->items.push_back(expression());
    expect_op(":");
    expr->items.push_back(expression());
    if (!at_op("}")) expect_op(",");
  }
  return finished(std::move(expr));
}

bool Parser::at_tuple_end() const {
  return now().kind == Kind::print_end || now().kind == Kind::block_end || at_op(")") ||
         at_op("=") || at_name("in") || at_name("recursive");
}

ExprPtr Parser::tuple(bool with_conditional, bool in_parentheses) {
  ExprPtr expr = node(Expr::Kind::tuple, now().line);
  bool comma = false;
  while (!at_tuple_end()) {
    expr->items.push_back(with_conditional ? expression() : logical_or());
    if (!skip_op(",")) break;
    comma = true;
  }
  if (expr->items.size() == 1 && !comma) return std::move(expr->items[0]);
  if (expr->items.empty() && !in_parentheses) fail_expected("an expression");
  return finished(std::move(expr));
}

ExprPtr Parser::postfix(ExprPtr expr) {
  while (true) {
    if (at_op(".") || at_op("["))
      expr = subscript(std::move(expr));
    else if (at_op("("))
      expr = call(std::move(expr));
    else
      return expr;
  }
}

ExprPtr Parser::subscript(ExprPtr base) {
  const int line = now().line;
  ExprPtr expr = node(Expr::Kind::subscript, line);
  expr->items.push_back(std::move(base));
  if (skip_op(".")) {
    if (now().kind == Kind::integer) {
      expr->items.push_back(literal());
    } else {
      expr->kind = Expr::Kind::attribute;
      expr->text = take_name();
    }
    return finished(std::move(expr));
  }
  expect_op("[");
  const auto ends = [&] { return at_op(":") || at_op("]"); };
  ExprPtr first = ends() ? nullptr : expression();
  if (at_op(":")) {
    expr->kind = Expr::Kind::slice;
    expr->items.push_back(std::move(first));
    for (int part = 0; part < 2; ++part)
      expr->items.push_back(skip_op(":") && !ends() ? expression() : nullptr);
  } else {
    if (!first) fail_expected("an expression");
    expr->items.push_back(std::move(first));
  }
  expect_op("]");
  return finished(std::move(expr));
}

ExprPtr Parser::call(ExprPtr callee) {
  ExprPtr expr = node(Expr::Kind::call, now().line);
  expr->items.push_back(std::move(callee));
  expr->arguments = call_arguments();
  return finished(std::move(expr));
}

std::vector<Argument> Parser::call_arguments() {
  std::vector<Argument> arguments;
  expect_op("(");
  while (!skip_op(")")) {
    Argument argument;
    if (skip_op("**")) {
      argument.kind = Argument::Kind::dict;
    } else if (skip_op("*")) {
      argument.kind = Argument::Kind::list;
    } else if (now().kind == Kind::name && is_op(next(), "=")) {
      argument.kind = Argument::Kind::keyword;
      argument.name = take_name();
      expect_op("=");
    } else if (!arguments.empty() && arguments.back().kind != Argument::Kind::positional) {
      fail_expected("an argument with a name");
    }
    argument.value = expression();
    arguments.push_back(std::move(argument));
    if (!at_op(")")) expect_op(",");
  }
  return arguments;
}

ExprPtr Parser::filters(ExprPtr expr) {
  while (true) {
    if (skip_op("|"))
      expr = filter(std::move(expr));
    else if (at_name("is"))
      expr = test(std::move(expr));
    else if (at_op("("))
      expr = call(std::move(expr));
    else
      return expr;
  }
}

ExprPtr Parser::filter(ExprPtr input) {
  ExprPtr expr = node(Expr::Kind::filter, now().line);
  expr->text = take_name();
  expr->items.push_back(std::move(input));
  if (at_op("(")) expr->arguments = call_arguments();
  return finished(std::move(expr));
}

ExprPtr Parser::test(ExprPtr expr) {
  const int line = now().line;
  expect_name("is");
  const bool negated = skip_name("not");
  ExprPtr test = node(Expr::Kind::test, line);
  test->text = take_name();
  test->items.push_back(std::move(expr));
  const bool plain_argument =
      now().kind == Kind::string || now().kind == Kind::integer || now().kind == Kind::number ||
      at_op("[") || at_op("{") ||
      (now().kind == Kind::name && !at_name("else") && !at_name("or") && !at_name("and") &&
       !at_name("is") && !at_name("if") && !at_name("in") && !at_name("not"));
  if (at_op("(")) {
    test->arguments = call_arguments();
  } else if (plain_argument) {
    Argument argument;
    argument.value = postfix(primary());
    test->arguments.push_back(std::move(argument));
  }
  test = finished(std::move(test));
  if (!negated) return test;
  ExprPtr inverse = node(Expr::Kind::logical_not, line);
  inverse->items.push_back(std::move(test));
  return finished(std::move(inverse));
}

}  // namespace nibble::jinja
