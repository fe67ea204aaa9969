#pragma once

#include <string>

#include "load/json.h"

namespace nibble {

/// The files beside the weights of a Hugging Face directory, each under its name, as far as they
/// exist: Checkpoint::metadata. `is_text_part`: the model is one of text and images, and "config"
/// describes the text part alone.
Json read_hugging_face_metadata(const std::string& directory, bool& is_text_part);

}  // namespace nibble
