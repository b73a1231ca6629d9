#include "registry/blob_pull.h"

#include "base/error.h"
#include "registry/blob_download.h"
#include "registry/hash_follower.h"
#include "store/files.h"
#include "store/layout.h"

namespace sluice::registry {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTellEvery{60};
constexpr milliseconds kLookEvery{200};

}  // namespace

void BlobTeller::tell(uint64_t completed_bytes) {
  const auto now = Clock::now();
  const bool is_news = completed_bytes != line_.completed_bytes || !has_told_;
  const bool is_due = now - told_ >= kTellEvery || completed_bytes == line_.total_bytes;
  if (!is_news || (has_told_ && !is_due)) return;
  has_told_ = true;
  told_ = now;
  line_.completed_bytes = completed_bytes;
  on_progress_(line_);
}

std::unique_ptr<store::PartialBlob> fetch_file(RegistryClient& client, const std::string& folder,
                                               const WantedFile& file,
                                               const std::function<bool()>& is_there,
                                               BlobTeller& teller) {
  std::unique_ptr<store::PartialBlob> blob;
  while (true) {
    blob = store::PartialBlob::try_open(folder, file.key, file.size_bytes);
    if (is_there()) {
      if (blob) blob->discard();
      return nullptr;
    }
    if (blob) break;
    teller.tell(store::PartialBlob::look_up_completed(folder, file.key, file.size_bytes));
    client.transport().sleep(kLookEvery);
  }
  store::require_space(folder, file.size_bytes - blob->completed_bytes());
  HashFollower follower(*blob);
  teller.tell(blob->completed_bytes());
  BlobDownload download(client, file.url, *blob, file.what);
  download.run([&] { teller.tell(blob->completed_bytes()); });
  while (!follower.wait(milliseconds(100))) client.transport().check_stop();
  return blob;
}

void fetch_blob(RegistryClient& client, const store::Store& store, const store::Layer& layer,
                const WebUrl& url, const OnProgress& on_progress) {
  const store::Digest& digest = layer.digest;
  BlobTeller teller(on_progress, {.status = "pulling " + digest.short_id(),
                                  .digest = digest.text(),
                                  .total_bytes = layer.size_bytes});
  const auto is_there = [&] { return store.has_blob(digest, layer.size_bytes); };
  const WantedFile file{url, digest, layer.size_bytes, "blob " + digest.short_id()};
  constexpr int kMaxRounds = 2;
  for (int round = 1; !is_there(); ++round) {
    const auto blob = fetch_file(client, store::blobs_folder(store.root()), file, is_there, teller);
    if (!blob) break;
    const store::Digest found = blob->finish_digest();
    if (found == digest) {
      blob->sync();
      blob->commit(store::blobs_folder(store.root()) + "/" + digest.file_name());
      break;
    }
    // A byte that was hurt on its way, or by a power cut: all of it once more, but not for ever.
    blob->discard();
    if (round == kMaxRounds) {
      throw Error(ErrorCode::kCorruptData, "digest mismatch, file must be downloaded again: want " +
                                               digest.text() + ", got " + found.text());
    }
  }
  teller.tell(layer.size_bytes);
}

}  // namespace sluice::registry
