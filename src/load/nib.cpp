#include "load/checkpoint.h"
#include "load/names.h"
#include "load/safetensors_writer.h"
#include "nibble/error.h"

namespace nibble {

Checkpoint open_nib(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.format = FileFormat::nib;
  checkpoint.path = path;
  checkpoint.metadata = read_safetensors(path, checkpoint);
  const Json* format = checkpoint.metadata.find("nibble.format");
  if (!format)
    throw Error(path, "is a safetensors file without Nibble's metadata",
                "of a Hugging Face model, give the directory");
  if (format->as_string(path) != kNibFormat)
    throw Error::mismatch(path, "the version of the .nib format", kNibFormat,
                          printable(format->as_string(path)));
  checkpoint.description = "nib " + format->as_string(path);
  std::erase_if(checkpoint.tensors,
                [](const TensorView& tensor) { return tensor.name.starts_with(kPaddingPrefix); });
  checkpoint.index_tensors();
  return checkpoint;
}

}  // namespace nibble
