// load/json.h
#include "load/json.h"

#include <cmath>
#include <limits>

#include "check.h"
#include "files.h"

using namespace nibble;
using namespace nibble::test;

namespace {

Json parse(std::string_view text) { return parse_json(text, "t"); }

void literals() {
  check(parse("null").is_null());
  check_eq(parse(" true ").as_bool("t"), true);
  check_eq(parse("\t\r\n false").as_bool("t"), false);
  check(parse("[]").as_array("t").empty());
  check(parse("{ }").as_object("t").empty());
}

void numbers() {
  check(parse("0").is_integer());
  check_eq(parse("-0").as_int("t"), int64_t{0});
  check_eq(parse("9223372036854775807").as_int("t"), std::numeric_limits<int64_t>::max());
  check_eq(parse("-9223372036854775808").as_int("t"), std::numeric_limits<int64_t>::min());
  check(!parse("9223372036854775808").is_integer(), "2^63 is no int64");
  check_eq(parse("9223372036854775808").as_number("t"), 0x1p63);
  check_eq(parse("1000000000000000019884624838656").as_number("t"), 1e30);
  check_eq(parse("1.5").as_number("t"), 1.5);
  check_eq(parse("1e-05").as_number("t"), 1e-5);
  check_eq(parse("-2.5E+2").as_number("t"), -250.0);
  check_eq(parse("1e3").as_int("t"), int64_t{1000});
  check_eq(parse("4.0").as_int("t"), int64_t{4});
  check_eq(parse("7").as_number("t"), 7.0);
  check_error([] { parse("4.5").as_int("t"); }, "expected an integer, found 4.5");
  check_error([] { parse("1e300").as_int("t"); }, "expected an integer");
  check_error([] { parse("1e999").as_int("t"); }, "does not fit a double");
}

void bad_numbers() {
  for (const char* text : {"01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "NaN", "Infinity",
                           "-Infinity", "1 2", "--1"})
    check_error([&] { parse(text); }, "invalid JSON");
}

void strings() {
  check_eq(parse(R"("a\"\\\/\b\f\n\r\tz")").as_string("t"), "a\"\\/\b\f\n\r\tz");
  check_eq(parse(R"("\u0041\u00e9\u20AC")").as_string("t"), "A\xc3\xa9\xe2\x82\xac");
  check_eq(parse(R"("\ud83d\ude00")").as_string("t"), "\xf0\x9f\x98\x80");
  check_eq(parse(R"("\u0000")").as_string("t"), std::string(1, '\0'));
  check_eq(parse("\"\xe4\xb8\xad\"").as_string("t"), "\xe4\xb8\xad");
}

void lone_surrogates() {
  const std::string replaced = "\xef\xbf\xbd";
  check_eq(parse(R"("\ud83d")").as_string("t"), replaced);
  check_eq(parse(R"("\ude00x")").as_string("t"), replaced + "x");
  check_eq(parse(R"("\ud83d\u0041")").as_string("t"), replaced + "A");
  check_eq(parse(R"("\ud83d\ud83d\ude00")").as_string("t"), replaced + "\xf0\x9f\x98\x80");
  check_eq(parse(R"("\ud83d\n")").as_string("t"), replaced + "\n");
}

void bad_strings() {
  for (const char* text : {"\"", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"",
                           "\"\\u+123\"", "\"\\u 123\"", "\"a\nb\"", "\"\\ud83d\\u\"", "'a'"})
    check_error([&] { parse(text); }, "invalid JSON");
  check_error([] { parse(std::string_view("\"\0\"", 3)); }, "control character");
  check_error([] { parse("\"\xff\""); }, "not UTF-8");
  check_error([] { parse("\"\xc0\x80\""); }, "not UTF-8");
  check_error([] { parse("\"\xed\xa0\x80\""); }, "not UTF-8");
}

void structure() {
  const Json json = parse(R"({"a": [1, {"b": null}], "": "x", "c": {}})");
  check_eq(json.as_object("t").size(), size_t{3});
  check_eq(json.as_object("t")[2].first, "c");
  check_eq(json.find("a")->as_array("t")[0].as_int("t"), int64_t{1});
  check(json.find("a")->as_array("t")[1].find("b")->is_null());
  check_eq(json.find("")->as_string("t"), "x");
  check(!json.find("z"), "no such member");
  check(!json.find("a")->find("b"), "an array has no members");
}

void bad_structure() {
  for (const char* text :
       {"",          " ",          "[",     "[1",     "[1,",       "[1,]",
        "[,1]",      "]",          "{",     "{\"a\"", "{\"a\":",   "{\"a\":1",
        "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{1:1}",  "{\"a\" 1}", "[1}",
        "{\"a\":1]", "tru",        "nulL",  "[] []",  "/*x*/1",    "\xef\xbb\xbf{}"})
    check_error([&] { parse(text); }, "invalid JSON");
}

void error_position() {
  check_error([] { parse_json("{\n \"a\": 1,\n \"b\" 2}", "config.json"); },
              "config.json: invalid JSON at line 3, column 6: expected ':'");
}

void duplicate_keys() {
  check_error([] { parse(R"({"a":1,"b":2,"a":3})"); }, "\"a\" occurs twice");
  check_error([] { parse(R"({"a":1,"\u0061":3})"); }, "\"a\" occurs twice");
  check_error([] { parse(R"([{"x":{"k":1,"k":1}}])"); }, "\"k\" occurs twice");
  parse(R"({"a":{"a":{"a":1}}, "A":1})");
}

void depth() {
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  parse(nested(128));
  check_error([&] { parse(nested(129)); }, "nested deeper than 128");
  check_error([] { parse(std::string(1000000, '[')); }, "nested deeper than 128");
  std::string objects;
  for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
  check_error([&] { parse(objects); }, "nested deeper than 128");
}

// Sizes at which a quadratic step would not end.
void large() {
  std::string text = "{";
  for (int i = 0; i < 300000; ++i) text += "\"key" + std::to_string(i) + "\":[0],";
  text.back() = '}';
  check_eq(parse(text).as_object("t").size(), size_t{300000});
  text.back() = ',';
  check_error([&] { parse(text + "\"key7\":0}"); }, "\"key7\" occurs twice");
  std::string many = "[";
  for (size_t i = 0; i < kMaxJsonValues; ++i) many += "1,";
  many.back() = ']';
  check_error([&] { parse(many); }, "values");
}

void accessors() {
  check_error([] { parse("1").as_string("key"); }, "key: expected a string, found an integer");
  check_error([] { parse("\"1\"").as_int("t"); }, "expected an integer, found a string");
  check_error([] { parse("[]").as_object("t"); }, "expected an object, found an array");
  check_error([] { parse("{}").as_array("t"); }, "expected an array, found an object");
  check_error([] { parse("null").as_bool("t"); }, "expected a boolean, found null");
  check_error([] { parse("true").as_number("t"); }, "expected a number, found a boolean");
  check_error([] { Json(std::nan("")).as_int("t"); }, "expected an integer");
  check_error([] { Json(0x1p63).as_int("t"); }, "expected an integer");
  check_eq(Json(-0x1p63).as_int("t"), std::numeric_limits<int64_t>::min());
}

void value_semantics() {
  const Json original =
      parse(R"({"a": [1, "long enough for the heap: abcdefghijklmnopqrstuvwxyz"]})");
  Json copy = original;
  Json moved = std::move(copy);
  copy = Json(5);
  check_eq(copy.as_int("t"), int64_t{5});
  check_eq(write_json(moved), write_json(original));
  check(&moved.as_object("t") != &original.as_object("t"), "a copy is deep");
  moved = *moved.find("a");  // assignment from a part of itself
  check_eq(moved.as_array("t").size(), size_t{2});
  check_eq(original.find("a")->as_array("t").size(), size_t{2});
}

void writes() {
  const Json json = Json::Object{{"n", Json()},
                                 {"b", true},
                                 {"i", -5},
                                 {"d", 1.0},
                                 {"e", 1e-7},
                                 {"s", "a\"\\\n\x01\xc3\xa9"},
                                 {"l", Json::Array{1, Json::Array{}, Json::Object{}}}};
  check_eq(
      write_json(json),
      "{\"n\":null,\"b\":true,\"i\":-5,\"d\":1.0,\"e\":1e-07,\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\","
      "\"l\":[1,[],{}]}");
  check_eq(write_json(Json::Object{{"a", Json::Array{1, 2}}}, 2),
           "{\n  \"a\": [\n    1,\n    2\n  ]\n}");
  check_eq(write_json(std::nan("")), "null");
  check_eq(write_json(std::numeric_limits<double>::infinity()), "null");
  check_eq(write_json("a\xff\xe4\xb8z"), "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
}

void round_trip() {
  for (const double d : {0.1, -1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789.0, 1e22})
    check_eq(parse(write_json(d)).as_number("t"), d);
  check_eq(parse(write_json(std::numeric_limits<int64_t>::min())).as_int("t"),
           std::numeric_limits<int64_t>::min());
  std::string all;
  for (int c = 0; c < 128; ++c) all.push_back(static_cast<char>(c));
  check_eq(parse(write_json(all)).as_string("t"), all);
}

// The Hugging Face tokenizers: the largest JSON files there are in practice.
void real_tokenizers() {
  for (const auto& [name, vocabulary] : {std::pair{"hf/llama-3/tokenizer.json", size_t{128000}},
                                         std::pair{"hf/qwen2.5/tokenizer.json", size_t{151643}}}) {
    const Json json = parse_json(read_file(shared(std::string("data/") + name)), name);
    check_eq(json.find("model")->find("vocab")->as_object(name).size(), vocabulary);
    check_eq(write_json(parse(write_json(json, 1))), write_json(json));
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv,
             {{"literals", literals},
              {"numbers", numbers},
              {"bad numbers", bad_numbers},
              {"strings", strings},
              {"lone surrogates", lone_surrogates},
              {"bad strings", bad_strings},
              {"structure", structure},
              {"bad structure", bad_structure},
              {"errors give the position", error_position},
              {"duplicate keys", duplicate_keys},
              {"depth", depth},
              {"large texts", large},
              {"accessors", accessors},
              {"value semantics", value_semantics},
              {"writing", writes},
              {"round trip", round_trip},
              {"real tokenizers", real_tokenizers}});
}
