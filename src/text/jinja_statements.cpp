// The statements of the grammar.
#include <algorithm>

#include "load/names.h"
#include "text/jinja_parser.h"

namespace nibble::jinja {

using Kind = Token::Kind;

namespace {

using Stmt = Statement::Kind;

constexpr int kMaxStatementNesting = 60;

int depth_of(const Body& body) {
  int depth = 0;
  for (const auto& statement : body) depth = std::max(depth, statement->depth);
  return depth;
}

}  // namespace

std::unique_ptr<Statement> Parser::make(Stmt kind, int line) const {
  auto statement = std::make_unique<Statement>();
  statement->kind = kind;
  statement->line = line;
  return statement;
}

Program Parser::run() {
  program_.body = body({});
  return std::move(program_);
}

Body Parser::body(Names ends) {
  Body out;
  while (now().kind != Kind::end) {
    const Token& token = tokens_[pos_++];
    if (token.kind == Kind::data) {
      out.push_back(make(Stmt::data, token.line));
      out.back()->data = Text(token.text, true);
    } else if (token.kind == Kind::print_begin) {
      out.push_back(make(Stmt::print, token.line));
      out.back()->value = tuple(true, false);
      if (now().kind != Kind::print_end) fail_expected("\"}}\"");
      ++pos_;
    } else {
      for (const std::string_view end : ends)
        if (at_name(end)) return out;
      out.push_back(statement());
      close_block();
    }
  }
  if (ends.size() > 0) fail_expected("{% " + std::string(*std::prev(ends.end())) + " %}");
  return out;
}

void Parser::body_of(Statement& parent, Body& target, Names ends) {
  close_block();
  target = body(ends);
  parent.depth = std::max(parent.depth, depth_of(target) + 1);
  if (parent.depth > kMaxStatementNesting) fail_at(parent.line, "the template nests too deep");
}

void Parser::close_block() {
  if (now().kind != Kind::block_end) fail_expected("\"%}\"");
  ++pos_;
}

std::unique_ptr<Statement> Parser::statement() {
  const Nesting nesting(*this);
  const int line = now().line;
  const std::string name = take_name();
  if (name == "for") return loop(line);
  if (name == "if") return branch(line);
  if (name == "set") return assignment(line);
  if (name == "macro") return macro(line);
  if (name == "call") return call_block(line);
  if (name == "with") return with(line);
  return other_statement(name, line);
}

std::unique_ptr<Statement> Parser::other_statement(const std::string& name, int line) {
  if (name == "break" || name == "continue") {
    if (loops_ == 0) fail_at(line, "\"" + name + "\" stands outside of a loop");
    return make(name == "break" ? Stmt::break_loop : Stmt::continue_loop, line);
  }
  if (name == "do") {
    auto out = make(Stmt::evaluate, line);
    out->value = tuple(true, false);
    return out;
  }
  if (name == "filter") {
    auto out = make(Stmt::filter_block, line);
    out->value = filters(filter(nullptr));
    body_of(*out, out->body, {"endfilter"});
    expect_name("endfilter");
    return out;
  }
  if (name == "generation") {
    // Marks what a model learns to say; of no effect here.
    auto out = make(Stmt::scope, line);
    body_of(*out, out->body, {"endgeneration"});
    expect_name("endgeneration");
    return out;
  }
  if (name == "include" || name == "import" || name == "from" || name == "extends" ||
      name == "block")
    fail_at(line, "a chat template has no other templates to \"" + name + "\"");
  fail_at(line, "there is no statement " + printable(name));
}

std::unique_ptr<Statement> Parser::loop(int line) {
  auto out = make(Stmt::loop, line);
  out->target = target(true);
  expect_name("in");
  out->value = tuple(false, false);
  if (skip_name("if")) out->condition = expression();
  if (at_name("recursive")) fail_at(line, "recursive loops are not supported");
  ++loops_;
  body_of(*out, out->body, {"else", "endfor"});
  --loops_;
  if (skip_name("else")) body_of(*out, out->otherwise, {"endfor"});
  expect_name("endfor");
  return out;
}

std::unique_ptr<Statement> Parser::branch(int line) {
  auto out = make(Stmt::branch, line);
  bool more = true;
  while (more) {
    Branch& added = out->branches.emplace_back();
    added.condition = tuple(false, false);
    body_of(*out, added.body, {"elif", "else", "endif"});
    more = skip_name("elif");
  }
  if (skip_name("else")) {
    Branch& added = out->branches.emplace_back();
    body_of(*out, added.body, {"endif"});
  }
  expect_name("endif");
  return out;
}

Target Parser::single_target() {
  Target out;
  if (skip_op("(")) {
    out = target(true);
    expect_op(")");
    return out;
  }
  out.name = take_name();
  out.id = name_id(out.name);
  if (skip_op(".")) out.member = take_name();
  return out;
}

Target Parser::target(bool several) {
  const Nesting nesting(*this);
  Target first = single_target();
  if (!several || !at_op(",")) return first;
  Target out;
  out.parts.push_back(std::move(first));
  while (skip_op(",")) {
    if (at_name("in") || at_op("=") || at_op(")")) break;
    out.parts.push_back(single_target());
  }
  return out;
}

std::unique_ptr<Statement> Parser::assignment(int line) {
  auto out = make(Stmt::assign, line);
  out->target = target(true);
  if (skip_op("=")) {
    out->value = tuple(true, false);
    return out;
  }
  out->kind = Stmt::assign_block;
  if (skip_op("|")) out->value = filters(filter(nullptr));
  body_of(*out, out->body, {"endset"});
  expect_name("endset");
  return out;
}

std::vector<Parameter> Parser::signature() {
  std::vector<Parameter> out;
  expect_op("(");
  while (!skip_op(")")) {
    Parameter& parameter = out.emplace_back();
    parameter.name = take_name();
    parameter.id = name_id(parameter.name);
    if (skip_op("="))
      parameter.value = expression();
    else if (out.size() > 1 && out[out.size() - 2].value)
      fail_expected("a default, as the parameter before has one");
    if (!at_op(")")) expect_op(",");
  }
  return out;
}

std::unique_ptr<Statement> Parser::macro(int line) {
  auto out = make(Stmt::macro, line);
  out->name = take_name();
  out->id = name_id(out->name);
  out->parameters = signature();
  const int loops = std::exchange(loops_, 0);
  body_of(*out, out->body, {"endmacro"});
  loops_ = loops;
  expect_name("endmacro");
  return out;
}

std::unique_ptr<Statement> Parser::call_block(int line) {
  auto out = make(Stmt::call_block, line);
  out->name = "caller";
  out->id = name_id(out->name);
  if (at_op("(")) out->parameters = signature();
  out->value = expression();
  if (out->value->kind != Expr::Kind::call) fail_at(line, "a \"call\" block calls nothing");
  const int loops = std::exchange(loops_, 0);
  body_of(*out, out->body, {"endcall"});
  loops_ = loops;
  expect_name("endcall");
  return out;
}

std::unique_ptr<Statement> Parser::with(int line) {
  auto out = make(Stmt::with, line);
  while (now().kind != Kind::block_end) {
    if (!out->parameters.empty()) expect_op(",");
    Parameter& parameter = out->parameters.emplace_back();
    parameter.name = take_name();
    parameter.id = name_id(parameter.name);
    expect_op("=");
    parameter.value = expression();
  }
  body_of(*out, out->body, {"endwith"});
  expect_name("endwith");
  return out;
}

Program parse(std::string_view source) { return Parser(tokenize(source)).run(); }

}  // namespace nibble::jinja
