#include "bench_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "batch.h"
#include "load/json.h"

namespace nibble::tools {

std::string BenchTest::name() const {
  std::string text;
  if (n_prompt > 0) text = "pp" + std::to_string(n_prompt);
  if (n_gen > 0) text += (text.empty() ? "tg" : "+tg") + std::to_string(n_gen);
  if (depth > 0) text += " @ d" + std::to_string(depth);
  return text;
}

std::vector<double> BenchRow::rates() const {
  std::vector<double> rates;
  for (const double s : seconds) rates.push_back((test.n_prompt + test.n_gen) / s);
  return rates;
}

double mean(const std::vector<double>& values) {
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
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

namespace {

const char* check_text(BenchCheck check) {
  switch (check) {
    case BenchCheck::ok:
      return "ok";
    case BenchCheck::wrong:
      return "WRONG";
    case BenchCheck::not_done:
      break;
  }
  return "";
}

/// GB/s that generation reads; 0 where it is not the measure.
double read_rate(const BenchRow& row) { return row.bytes_per_token * mean(row.rates()) * 1e-9; }

/// The part of what reading memory reaches; 0 if either is unknown.
double read_share(const BenchRow& row) {
  return row.bandwidth() > 0 ? read_rate(row) / row.bandwidth() : 0;
}

/// Multiplications and additions of a prompt, 2 for each parameter; 0 for generation.
double gop_rate(const BenchRow& row) {
  if (row.test.n_gen > 0) return 0;
  return 2e-9 * static_cast<double>(row.n_params) * mean(row.rates());
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
  put(out, "test", row.test.name());
  put(out, "avg_ns", mean(nanoseconds));
  put(out, "stddev_ns", standard_deviation(nanoseconds));
  put(out, "avg_ts", mean(rates));
  put(out, "stddev_ts", standard_deviation(rates));
  put(out, "median_ts", median(rates));
  put(out, "read_gb_s", positive_or_null(read_rate(row)));
  put(out, "bandwidth_before_gb_s", positive_or_null(row.bandwidth_before));
  put(out, "bandwidth_after_gb_s", positive_or_null(row.bandwidth_after));
  put(out, "in_cache", row.in_cache);
  put(out, "bandwidth_share", positive_or_null(read_share(row)));
  put(out, "gop_s", positive_or_null(gop_rate(row)));
  const bool checked = row.check != BenchCheck::not_done;
  put(out, "check", checked ? Json(check_text(row.check)) : Json());
  put(out, "check_error", checked ? Json(row.check_error) : Json());
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
constexpr Column kColumns[] = {{"model", 30, false},  {"size", 10, true},   {"params", 8, true},
                               {"backend", 8, false}, {"threads", 7, true}, {"test", 14, true},
                               {"t/s", 17, true},     {"GB/s", 6, true},    {"of limit", 8, true},
                               {"GOP/s", 7, true},    {"check", 5, false}};
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

/// A share of memory's speed says nothing about what the cache holds.
std::string limit_text(const BenchRow& row) {
  const double share = read_share(row);
  return share > 0 && row.in_cache ? "cache" : positive_or_blank("%.0f%%", 100 * share);
}

std::string md_row(const BenchRow& row) {
  const std::vector<double> rates = row.rates();
  return md_line({row.model, bytes_text(row.weight_bytes), count_text(row.n_params), row.kernels,
                  std::to_string(row.threads), row.test.name(),
                  format("%.2f", mean(rates)) + " ± " + format("%.2f", standard_deviation(rates)),
                  positive_or_blank("%.2f", read_rate(row)), limit_text(row),
                  positive_or_blank("%.1f", gop_rate(row)), check_text(row.check)});
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
