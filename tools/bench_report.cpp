#include "bench_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "batch.h"
#include "load/json.h"

namespace nibble::tools {

std::string BenchTest::name() const {
  std::string text;
  if (n_prompt > 0) text = "pp" + std::to_string(n_prompt);
  if (n_gen > 0) text += (text.empty() ? "tg" : "+tg") + std::to_string(n_gen);
  if (n_verify > 0) text = "vf" + std::to_string(n_verify);
  if (depth > 0) text += " @ d" + std::to_string(depth);
  return text;
}

double BenchRow::bandwidth() const { return median(bandwidths); }

std::vector<double> BenchRow::rates() const {
  std::vector<double> rates;
  for (const double s : seconds) rates.push_back((test.n_prompt + test.n_gen + test.n_verify) / s);
  return rates;
}

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double standard_deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double center = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - center) * (value - center);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

namespace {

const char* verdict_text(BenchCheck::Verdict verdict) {
  switch (verdict) {
    case BenchCheck::Verdict::ok:
      return "ok";
    case BenchCheck::Verdict::wrong:
      return "WRONG";
    case BenchCheck::Verdict::not_done:
      break;
  }
  return "";
}

std::string hash_text(uint64_t hash) {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash));
  return digits.data();
}

double per_second(const BenchRow& row, double amount) {
  return row.seconds.empty() ? 0 : amount / median(row.seconds);
}

/// GB/s that generation reads; 0 where it is not the measure.
double read_rate(const BenchRow& row) { return per_second(row, row.bytes) * 1e-9; }

/// The part of what reading memory reaches at the same time, the median; 0 if either is unknown.
double read_share(const BenchRow& row) {
  std::vector<double> shares;
  for (size_t i = 0; i < row.bandwidths.size(); ++i)
    shares.push_back(row.bytes / row.seconds[i] * 1e-9 / row.bandwidths[i]);
  return median(std::move(shares));
}

double gop_rate(const BenchRow& row) { return per_second(row, row.operations) * 1e-9; }

/// The part of what these kernels reach on registers; 0 if either is unknown.
double gop_share(const BenchRow& row) {
  return row.peak_gops > 0 ? gop_rate(row) / row.peak_gops : 0;
}

Json positive_or_null(double value) { return value > 0 ? Json(value) : Json(); }

Json numbers(const std::vector<double>& values) {
  Json::Array out;
  for (const double value : values) out.emplace_back(value);
  return Json(std::move(out));
}

/// The fields in llama-bench's names where it has them.
Json::Object fields(const BenchRow& row, const std::string& cpu) {
  const std::vector<double> rates = row.rates();
  std::vector<double> nanoseconds;
  for (const double s : row.seconds) nanoseconds.push_back(std::round(s * 1e9));
  Json::Object out;
  put(out, "build_version", version());
  put(out, "cpu_info", cpu);
  put(out, "backends", row.kernels);
  put(out, "model_filename", row.path);
  put(out, "model_type", row.model);
  put(out, "model_size", json_count(row.weight_bytes));
  put(out, "model_n_params", json_count(row.n_params));
  put(out, "n_batch", row.batch);
  put(out, "n_threads", row.threads);
  put(out, "type_k", row.kv_type);
  put(out, "type_v", row.kv_type);
  put(out, "n_prompt", row.test.n_prompt);
  put(out, "n_gen", row.test.n_gen);
  put(out, "n_depth", row.test.depth);
  put(out, "n_verify", row.test.n_verify);
  put(out, "test", row.test.name());
  const bool measured = !rates.empty();
  const auto figure = [&](double value) { return measured ? Json(value) : Json(); };
  const double middle = median(rates);
  std::vector<double> deviations;
  for (const double rate : rates) deviations.push_back(std::abs(rate - middle));
  put(out, "avg_ns", figure(mean(nanoseconds)));
  put(out, "stddev_ns", figure(standard_deviation(nanoseconds)));
  put(out, "avg_ts", figure(mean(rates)));
  put(out, "stddev_ts", figure(standard_deviation(rates)));
  put(out, "median_ts", figure(middle));
  put(out, "mad_ts", figure(median(deviations)));
  put(out, "min_ts", figure(measured ? *std::min_element(rates.begin(), rates.end()) : 0));
  put(out, "max_ts", figure(measured ? *std::max_element(rates.begin(), rates.end()) : 0));
  put(out, "times_one_token", positive_or_null(median(row.times_one)));
  put(out, "read_gb_s", positive_or_null(read_rate(row)));
  put(out, "bandwidth_gb_s", positive_or_null(row.bandwidth()));
  put(out, "in_cache", row.in_cache);
  put(out, "bandwidth_share", positive_or_null(read_share(row)));
  put(out, "gop_s", positive_or_null(gop_rate(row)));
  put(out, "peak_gop_s", positive_or_null(row.peak_gops));
  put(out, "peak_share", positive_or_null(gop_share(row)));
  const bool checked = row.check.verdict != BenchCheck::Verdict::not_done;
  put(out, "check", checked ? Json(verdict_text(row.check.verdict)) : Json());
  put(out, "check_error", checked ? Json(row.check.error) : Json());
  put(out, "check_hash", checked ? Json(hash_text(row.check.hash)) : Json());
  return out;
}

std::string csv_value(const Json& value) {
  if (value.is_null()) return "";
  std::string text = value.is_string() ? value.as_string("") : write_json(value);
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  for (size_t pos = 0; (pos = text.find('"', pos)) != std::string::npos; pos += 2)
    text.insert(pos, 1, '"');
  text.insert(0, 1, '"');
  return text + '"';
}

std::string csv_lines(const BenchRow& row, const std::string& cpu, bool with_header) {
  std::string header, line;
  for (const auto& [key, value] : fields(row, cpu)) {
    header.append(header.empty() ? "" : ",").append(key);
    line.append(line.empty() ? "" : ",").append(csv_value(value));
  }
  return (with_header ? header + "\n" : "") + line + "\n";
}

Json json_row(const BenchRow& row, const std::string& cpu) {
  Json::Object out = fields(row, cpu);
  std::vector<double> nanoseconds;
  for (const double s : row.seconds) nanoseconds.push_back(std::round(s * 1e9));
  put(out, "samples_ns", numbers(nanoseconds));
  put(out, "samples_ts", numbers(row.rates()));
  return Json(std::move(out));
}

struct Column {
  const char* title;
  size_t width;
  bool right;
};
constexpr Column kColumns[] = {{"model", 30, false},  {"size", 10, true},    {"params", 8, true},
                               {"backend", 8, false}, {"threads", 7, true},  {"test", 14, true},
                               {"t/s", 17, true},     {"median", 8, true},   {"GB/s", 6, true},
                               {"GOP/s", 7, true},    {"of limit", 8, true}, {"x 1 token", 9, true},
                               {"check", 11, false}};
constexpr size_t kNumColumns = std::size(kColumns);

/// One line of a Markdown table; "±" is two bytes and one column wide.
std::string md_line(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (size_t i = 0; i < kNumColumns; ++i) {
    const size_t width = cells[i].size() - (cells[i].find("±") != std::string::npos ? 1 : 0);
    const std::string pad(kColumns[i].width - std::min(width, kColumns[i].width), ' ');
    line += ' ';
    line += kColumns[i].right ? pad + cells[i] : cells[i] + pad;
    line += " |";
  }
  return line + "\n";
}

std::string md_header() {
  std::vector<std::string> titles;
  std::string rule = "|";
  for (const Column& column : kColumns) {
    titles.emplace_back(column.title);
    rule += ' ';
    rule.append(column.width - 1, '-');
    rule += column.right ? ": |" : "- |";
  }
  return md_line(titles) + rule + "\n";
}

std::string positive_or_blank(const char* pattern, double value) {
  return value > 0 ? format(pattern, value) : "";
}

/// Of memory's speed for what generates, of the kernels' own for prompts. What the cache holds has
/// no such limit.
std::string limit_text(const BenchRow& row) {
  if (row.bytes <= 0) return positive_or_blank("%.0f%%", 100 * gop_share(row));
  const double share = read_share(row);
  return share > 0 && row.in_cache ? "cache" : positive_or_blank("%.0f%%", 100 * share);
}

std::string check_cell(const BenchCheck& check) {
  if (check.verdict != BenchCheck::Verdict::ok) return verdict_text(check.verdict);
  return verdict_text(check.verdict) + (" " + hash_text(check.hash).substr(0, 8));
}

std::string md_row(const BenchRow& row) {
  const std::vector<double> rates = row.rates();
  const bool measured = !rates.empty();
  return md_line(
      {row.model, bytes_text(row.weight_bytes), count_text(row.n_params), row.kernels,
       std::to_string(row.threads), row.test.name(),
       measured ? format("%.2f", mean(rates)) + " ± " + format("%.2f", standard_deviation(rates))
                : "",
       measured ? format("%.2f", median(rates)) : "", positive_or_blank("%.2f", read_rate(row)),
       row.bytes > 0 ? "" : positive_or_blank("%.1f", gop_rate(row)), limit_text(row),
       positive_or_blank("%.2f", median(row.times_one)), check_cell(row.check)});
}

}  // namespace

void BenchReport::add(const BenchRow& row) {
  const bool first = n_rows_++ == 0;
  switch (format_) {
    case BenchFormat::md:
      return write_stdout((first ? md_header() : "") + md_row(row));
    case BenchFormat::csv:
      return write_stdout(csv_lines(row, cpu_, first));
    case BenchFormat::jsonl:
      return write_stdout(write_json(json_row(row, cpu_)) + "\n");
    case BenchFormat::json:
      return write_stdout((first ? "[\n" : ",\n") + write_json(json_row(row, cpu_), 2));
  }
}

void BenchReport::finish() {
  if (format_ == BenchFormat::json) write_stdout(n_rows_ == 0 ? "[]\n" : "\n]\n");
}

}  // namespace nibble::tools
