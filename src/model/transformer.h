// The forward pass: one function per step of a layer, for every family and format.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "model/kv_cache.h"
#include "model/workspace.h"

namespace nibble {

/// Runs tokens at positions position.. through all layers and appends them to the cache. The final
/// hidden states of the last n_last become the rows 0..n_last-1 of workspace.x; of the others the
/// last layer computes keys and values alone. The caller holds model.turn, has checked the tokens
/// (n_last <= tokens.size() <= workspace.batch) and the context. Returns false if `cancel` was set:
/// the cache is then valid up to `position` only.
bool run_layers(const ModelImpl& model, KvCache& cache, Workspace& workspace,
                std::span<const Token> tokens, int position, size_t n_last,
                const std::atomic<bool>& cancel);

/// Sees the input of matrix products: rows x [n_rows, stride] of `cols` columns that all matrices
/// of `readers` multiply. Returns whether the products are needed; what is made of them is rubbish
/// if not, and nothing is without that of o.
using InputTap = std::function<bool(std::span<const PackedMatrix* const> readers, const float* x,
                                    size_t stride, size_t n_rows, size_t cols)>;

/// The parts of run_layers(), for calibration, which stands between the layers: the embeddings of
/// tokens at positions 0.. as rows of workspace.x, and one layer over the rows 0..n-1 of
/// workspace.x as positions 0..n-1 of a text. `tap` is called once for every input that matrices
/// share; only the matrices of that layer need to exist. The caller holds model.turn.
void embed_tokens(const ModelImpl& model, Workspace& workspace, std::span<const Token> tokens);
void run_layer(const ModelImpl& model, KvCache& cache, Workspace& workspace, int layer, size_t n,
               const InputTap& tap);

/// Logits of the rows 0..n-1 of workspace.x: out [n, vocab_size rounded up to 16].
void compute_logits(const ModelImpl& model, Workspace& workspace, size_t n, float* out);

}  // namespace nibble
