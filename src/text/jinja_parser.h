// The grammar of templates: jinja_parser.cpp has the expressions, jinja_statements.cpp the rest.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace nibble::jinja {

/// Throws Error naming the line and what is wrong.
Program parse(std::string_view source);

/// Recursive descent; precedence as in Jinja 3.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Program run();

 private:
  // Every level of parentheses is a dozen functions deep.
  static constexpr int kMaxNesting = 100;

  /// Bounds the recursion.
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (parser.nesting_ >= kMaxNesting) fail_at(parser.now().line, "the template nests too deep");
      ++parser.nesting_;
    }
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  // ---- tokens
  const Token& now() const { return tokens_[pos_]; }
  const Token& next() const { return tokens_[std::min(pos_ + 1, tokens_.size() - 1)]; }
  bool at_op(std::string_view text) const { return is_op(now(), text); }
  bool at_name(std::string_view text) const {
    return now().kind == Token::Kind::name && now().text == text;
  }
  static bool is_op(const Token& token, std::string_view text) {
    return token.kind == Token::Kind::op && token.text == text;
  }
  bool skip_op(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_op(std::string_view text);
  void expect_name(std::string_view text);
  std::string take_name();
  [[noreturn]] void fail_expected(const std::string& what) const;
  NameId name_id(const std::string& name);

  // ---- expressions
  ExprPtr node(Expr::Kind kind, int line) const;
  /// Sets the depth from the operands; Error if it is too large.
  ExprPtr finished(ExprPtr expr) const;
  ExprPtr binary(Op op, ExprPtr left, ExprPtr right, int line) const;
  ExprPtr expression();
  ExprPtr logical_or();
  ExprPtr logical_and();
  ExprPtr logical_not();
  ExprPtr compare();
  bool compare_op(Op& op);
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr literal();
  ExprPtr list();
  ExprPtr dict();
  /// One expression, or a tuple of those that commas join.
  ExprPtr tuple(bool with_conditional, bool in_parentheses);
  bool at_tuple_end() const;
  ExprPtr postfix(ExprPtr expr);
  ExprPtr subscript(ExprPtr base);
  ExprPtr call(ExprPtr callee);
  std::vector<Argument> call_arguments();
  ExprPtr filters(ExprPtr expr);
  ExprPtr filter(ExprPtr input);
  ExprPtr test(ExprPtr expr);

  // ---- statements
  using Names = std::initializer_list<std::string_view>;
  std::unique_ptr<Statement> make(Statement::Kind kind, int line) const;
  /// Statements up to a tag that begins with one of `ends`; the tag is read up to that word.
  Body body(Names ends);
  void body_of(Statement& parent, Body& target, Names ends);
  void close_block();
  std::unique_ptr<Statement> statement();
  std::unique_ptr<Statement> other_statement(const std::string& name, int line);
  std::unique_ptr<Statement> loop(int line);
  std::unique_ptr<Statement> branch(int line);
  std::unique_ptr<Statement> assignment(int line);
  std::unique_ptr<Statement> macro(int line);
  std::unique_ptr<Statement> call_block(int line);
  std::unique_ptr<Statement> with(int line);
  Target target(bool several);
  Target single_target();
  std::vector<Parameter> signature();

  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  // around the statement that is parsed
  Program program_;
  std::unordered_map<std::string, NameId> ids_;
};

}  // namespace nibble::jinja
