// Nibble: 4-bit language models on a CPU. This header is the whole public interface.
#pragma once

#include "nibble/chat.h"
#include "nibble/config.h"
#include "nibble/error.h"
#include "nibble/model.h"
#include "nibble/quantize.h"
#include "nibble/sampler.h"
#include "nibble/session.h"
#include "nibble/tokenizer.h"
#include "nibble/version.h"
