#include "convert/create.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "base/print.h"
#include "convert/hf_model.h"
#include "convert/json_file.h"
#include "convert/quantize.h"
#include "convert/split_model.h"
#include "gguf/parts.h"
#include "store/blob_writer.h"
#include "store/gguf_config.h"
#include "store/go_json.h"
#include "store/layout.h"

namespace sluice::convert {
namespace {

using store::Digest;
using store::Layer;

constexpr std::string_view kNoDigest = "0000000000000000000";  // of bytes that are in the making

bool is_gguf(const std::string& path) {
  std::array<std::byte, 4> magic = {};
  const InputFile file(path);
  return file.read_some(0, magic) == magic.size() &&
         std::equal(magic.begin(), magic.end(), std::as_bytes(std::span("GGUF", 4)).begin());
}

// The model in the making: its layers so far.
class Creator {
 public:
  Creator(store::Store& store, const ModelRecipe& request, const OnCreateProgress& tell,
          std::stop_token stop)
      : store_(store),
        request_(request),
        tell_(tell),
        stop_(std::move(stop)),
        blobs_(store::blobs_folder(store.root())) {}

  void run() {
    if (!request_.quantize.empty()) find_mix(request_.quantize);  // refused before work is done
    if (request_.from) {
      take_over(store_.get(request_.from->full_name()));
    } else {
      take_files();
    }
    if (!request_.quantize.empty()) quantize_weights();
    put_text(store::kTemplateLayer, request_.chat_template);
    put_text(store::kSystemLayer, request_.system);
    put_text(store::kParamsLayer, merged_params());
    put_text(store::kMessagesLayer, request_.messages_json);
    for (const std::string& license : request_.licenses) {
      if (!license.empty()) layers_.push_back(stage_text(store::kLicenseLayer, license));
    }
    commit();
  }

 private:
  void say(const std::string& status) const {
    check();
    tell_({status});
  }
  void check() const {
    if (stop_.stop_requested()) throw Error(ErrorCode::kCancelled, "the work was cancelled");
  }
  void count(const std::string& status, std::string_view digest, uint64_t completed_bytes,
             uint64_t total_bytes) const {
    check();
    tell_({status, std::string(digest), total_bytes, completed_bytes});
  }

  void take_over(const store::ModelRecord& record) {
    if (record.model_path.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "'" + record.name.short_name() + "' has no GGUF weights to build on");
    }
    layers_ = record.manifest.layers;
    config_ = record.config;
    base_params_ = record.texts.params_json;
  }

  void take_files() {
    if (request_.files.empty()) {
      throw Error(ErrorCode::kInvalidArgument, "neither 'from' or 'files' was specified");
    }
    store::make_directories(blobs_);
    std::vector<std::string> gguf_files;
    bool has_safetensors = false;
    for (const auto& [name, path] : request_.files) {
      if (name.ends_with(".safetensors")) {
        has_safetensors = true;
      } else if (is_gguf(path)) {
        gguf_files.push_back(path);
      }
    }
    if (has_safetensors) {
      convert_folder();
    } else if (gguf_files.empty()) {
      throw Error(ErrorCode::kInvalidArgument, "supplied file was not in GGUF format");
    } else if (gguf_files.size() == 1) {
      take_gguf(gguf_files.front());
    } else {
      join_gguf(gguf_files);
    }
    const gguf::File file = gguf::File::open(store_.blob_path(layers_.front().digest));
    config_ = store::config_from_gguf(file);
    base_params_ = store::params_from_gguf(file);
  }

  void join_gguf(const std::vector<std::string>& paths) {
    say("parsing GGUF");
    store::TemporaryFile out(blobs_);
    WriteOptions options;
    options.on_progress = [this](const WriteProgress& progress) {
      count("joining the model's parts", kNoDigest, progress.completed_bytes, progress.total_bytes);
    };
    join_parts(paths, out, options);
    layers_ = {commit_weights(std::move(out))};
  }

  void take_gguf(const std::string& path) {
    say("parsing GGUF");
    const gguf::File file = gguf::File::open(path);
    gguf::require_whole(file);
    const auto type = file.get_string("general.type");
    if (type && *type != "model") {
      throw Error(ErrorCode::kUnsupported, "a GGUF file of the type '" +
                                               printable(type->substr(0, 40)) +
                                               "' is no model; adapters and projectors are not "
                                               "supported");
    }
    const uint64_t size_bytes = InputFile(path).size_bytes();
    const Digest digest = hash(path, size_bytes);
    if (!store_.has_blob(digest, size_bytes)) {
      store::BlobWriter writer(store_, digest, size_bytes);
      const InputFile source(path);
      std::vector<std::byte> buffer(store::kCopyBufferBytes);
      uint64_t completed = 0;
      while (const size_t num_bytes = source.read_some(completed, buffer)) {
        writer.write(std::span<const std::byte>(buffer).first(num_bytes));
        completed += num_bytes;
        count("copying file", digest.text(), completed, size_bytes);
      }
      writer.commit();
    }
    layers_ = {Layer{std::string(store::kModelLayer), digest, size_bytes}};
  }

  // From the digest in its name where it is a blob already: its bytes were checked when it came.
  Digest hash(const std::string& path, uint64_t size_bytes) const {
    const auto named = Digest::parse(std::filesystem::path(path).filename().string());
    if (named && path == store_.blob_path(*named)) return *named;
    return store::sha256_file(path, [&](uint64_t completed) {
      count("gathering model components", kNoDigest, completed, size_bytes);
    });
  }

  void convert_folder() {
    say("converting model");
    store::TemporaryFile out(blobs_);
    HfOptions options;
    options.name = request_.name.short_name();
    options.write.on_progress = [this](const WriteProgress& progress) {
      count("converting model", kNoDigest, progress.completed_bytes, progress.total_bytes);
    };
    convert_hf(request_.files, out, options);
    layers_ = {commit_weights(std::move(out))};
  }

  void quantize_weights() {
    const Mix& mix = find_mix(request_.quantize);
    const auto weights = std::find_if(layers_.begin(), layers_.end(), [](const Layer& layer) {
      return layer.media_type == store::kModelLayer;
    });
    const gguf::File source = gguf::File::open(store_.blob_path(weights->digest));
    const std::string status =
        "quantizing " + config_.quantization + " model to " + upper_case(mix.name);
    store::TemporaryFile out(blobs_);
    QuantizeOptions options;
    options.write.on_progress = [&](const WriteProgress& progress) {
      count(status, kNoDigest, progress.completed_bytes, progress.total_bytes);
    };
    quantize(source, mix, out, options);
    *weights = commit_weights(std::move(out));
    const gguf::File result = gguf::File::open(store_.blob_path(weights->digest));
    config_.quantization = store::config_from_gguf(result).quantization;
  }

  static std::string upper_case(std::string_view text) {
    std::string upper(text);
    for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return upper;
  }

  // What was written is checked as any file from outside before it gets its place.
  Layer commit_weights(store::TemporaryFile out) const {
    say("verifying conversion");
    gguf::File::open(out.path());
    const uint64_t size_bytes = InputFile(out.path()).size_bytes();
    const Digest digest = store::sha256_file(out.path(), [this](uint64_t) { check(); });
    const bool is_there = store_.has_blob(digest, size_bytes);
    if (!is_there) out.commit(store_.blob_path(digest));
    say((is_there ? "using existing layer " : "creating new layer ") + digest.text());
    return Layer{std::string(store::kModelLayer), digest, size_bytes};
  }

  Layer stage_text(std::string_view media_type, const std::string& text) const {
    const Digest digest = store::sha256(text);
    const bool is_there = store_.has_blob(digest, text.size());
    if (!is_there) {
      store::BlobWriter writer(store_, digest, text.size());
      writer.write(std::as_bytes(std::span(text)));
      writer.commit();
    }
    say((is_there ? "using existing layer " : "creating new layer ") + digest.text());
    return Layer{std::string(media_type), digest, text.size()};
  }

  // Instead of the layer of that kind; "" leaves it.
  void put_text(std::string_view media_type, const std::string& text) {
    if (text.empty()) return;
    std::erase_if(layers_, [&](const Layer& layer) { return layer.media_type == media_type; });
    layers_.push_back(stage_text(media_type, text));
  }

  // "" when nothing changes what is there.
  std::string merged_params() const {
    if (request_.params_json.empty() && request_.from) return "";
    if (request_.params_json.empty() && base_params_.empty()) return "";
    Json params = base_params_.empty() ? Json::object() : parse_object(base_params_, "parameters");
    if (!request_.params_json.empty()) {
      params.update(parse_object(request_.params_json, "parameters"));
    }
    return store::go_json(params);
  }

  void commit() {
    if (!request_.renderer.empty()) config_.renderer = request_.renderer;
    if (!request_.parser.empty()) config_.parser = request_.parser;
    if (!request_.minimum_version.empty()) config_.minimum_version = request_.minimum_version;
    store::Manifest manifest;
    manifest.config = stage_text(store::kConfigType, store::encode_config(config_));
    manifest.layers = layers_;
    say("writing manifest");
    const auto result = store_.commit(request_.name, store::encode_manifest(manifest));
    if (!result.missing.empty()) {
      throw Error(ErrorCode::kNotFound, "the blob " + result.missing.front().digest.text() +
                                            " was removed meanwhile; create the model again");
    }
    tell_({"success"});
  }

  store::Store& store_;
  const ModelRecipe& request_;
  const OnCreateProgress& tell_;
  const std::stop_token stop_;
  const std::string blobs_;
  std::vector<Layer> layers_;
  store::ModelConfig config_;
  std::string base_params_;
};

}  // namespace

void create(store::Store& store, const ModelRecipe& request, const OnCreateProgress& tell,
            std::stop_token stop) {
  Creator(store, request, tell, std::move(stop)).run();
}

}  // namespace sluice::convert
