#pragma once

#include "model/transformer.h"

namespace nibble {

/// Attention of one layer: queries workspace.q_heads of n tokens at positions position.. over the
/// cache (which holds those positions already), into workspace.attended. Work is split over KV
/// heads and blocks of tokens, and over chunks of the cache where that leaves threads idle; the
/// result is the same bit for bit.
void attend(const ModelImpl& model, const KvCache& cache, Workspace& workspace, int layer,
            size_t n_tokens, int position, int n_threads);

}  // namespace nibble
