// What a model file holds, whatever its format: metadata and named tensors, all bounds proven.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "load/json.h"

namespace nibble {

/// Element types of tensors on disk; the names are those of GGUF and safetensors.
enum class DType : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  u8,
  i16,
  u16,
  i32,
  u32,
  i64,
  u64,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq1_s,
  iq1_m,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s,
  iq4_nl,
  iq4_xs,
  mxfp4,
};

struct DTypeInfo {
  const char* name;      // "F32", "Q4_K", ...
  uint32_t block_elems;  // elements of a block: 1, 32 or 256
  uint32_t block_bytes;  // bytes of a block
};
const DTypeInfo& dtype_info(DType type);

/// Bytes of a tensor of that type and row-major shape, or Error(where, ...) if its rows are not
/// whole blocks or the size does not fit 64 bits.
uint64_t tensor_bytes(DType type, std::span<const uint64_t> shape, const std::string& where);

std::string shape_text(std::span<const uint64_t> shape);  // "[4096, 11008]"

/// A tensor inside a mapped file. `data` holds exactly the bytes that type and shape need (proven);
/// its alignment is not promised. No GGUF or llama2c tensor is empty; a safetensors one can have a
/// zero in its shape, or no dimension at all (one element).
struct TensorView {
  std::string name;
  DType type = DType::f32;
  std::vector<uint64_t> shape;  // row-major: the last dimension is contiguous
  std::span<const std::byte> data;

  uint64_t n_elements() const;  // cannot overflow: data bounds it
  std::string shape_text() const;
};

enum class FileFormat : uint8_t { gguf, hugging_face, nib, llama2c };

/// The files of one model. Movable; tensor data stays valid as long as the Checkpoint lives.
struct Checkpoint {
  FileFormat format = FileFormat::gguf;
  std::string path;         // as the user gave it; the `where` of errors
  std::string description;  // "GGUF v3", "Hugging Face safetensors, 2 files"
  std::vector<MappedFile> files;
  std::vector<TensorView> tensors;

  /// GGUF: the keys and values of the file ("llama.block_count"), arrays included.
  /// hugging_face: {"config": ..., "generation_config": ..., "tokenizer_config": ...,
  /// "tokenizer": ..., "quant_config": ..., "quantize_config": ...} as far as the files exist (of a
  /// model of text and images the config and the tensors of its text part), plus
  /// "chat_template" (string or object, as its own file has it), and if only a SentencePiece
  /// tokenizer.model is there "tokenizer_model" (raw bytes) and "added_tokens". nib: the
  /// __metadata__ of the safetensors header (strings). llama2c: {"dim", "hidden_dim", "n_layers",
  /// "n_heads", "n_kv_heads", "vocab_size", "seq_len"} as integers and "tied" as boolean, plus
  /// "tokenizer": {"tokens": [strings], "scores": [numbers]}.
  Json metadata;

  /// The tensor of that name, or null.
  const TensorView* find(std::string_view name) const;
  /// The tensor of that name; Error naming it if there is none.
  const TensorView& get(std::string_view name) const;
  uint64_t file_bytes() const;
  /// Whether the path `name` leads to one of `files`.
  bool has_file(const std::string& name) const;
  /// Lets go of the memory of a tensor that has been consumed.
  void release(const TensorView& tensor) const noexcept;

  /// Called once by the loaders when `tensors` is complete and its order final. Error if a name
  /// occurs twice.
  void index_tensors();

 private:
  std::vector<size_t> by_name_;  // indices of `tensors`, sorted by name: no names make it slow
};

/// Opens a model by what it is, not by what it is called: a directory with config.json; a file that
/// starts with "GGUF"; a safetensors file with nibble metadata; else llama2.c. Throws Error.
Checkpoint open_checkpoint(const std::string& path);

// The formats, one file each.

/// A split model is opened by the first of its parts, with the others beside it.
Checkpoint open_gguf(const std::string& path);
Checkpoint open_hugging_face(const std::string& directory);
/// The padding that SafetensorsWriter adds is left out of the tensors.
Checkpoint open_nib(const std::string& path);
inline constexpr const char* kNibFormat = "1";  // the version of .nib that is read and written
/// Tensors are named as in a GGUF file. The tokenizer is tok*.bin (tokenizer.bin too) beside the
/// file, the one whose number of tokens fits; metadata has no "tokenizer" if there is none.
Checkpoint open_llama2c(const std::string& path);

/// The tensors of one safetensors file, appended to `out.tensors`; the file is added to
/// `out.files`. Returns its __metadata__ (an object of strings; empty if absent).
Json read_safetensors(const std::string& path, Checkpoint& out);

}  // namespace nibble
