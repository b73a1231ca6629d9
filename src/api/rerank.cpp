#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "api/embedding_common.h"
#include "api/error.h"
#include "api/openai.h"
#include "api/parse_common.h"

// POST /v1/rerank, as Jina, Cohere and vLLM shape it.
namespace sluice::api {
namespace {

// A text, or an object with one.
std::string document_text(Json& document) {
  if (document.is_string()) return std::move(document.get_ref<std::string&>());
  if (!document.is_object()) fail("every one of \"documents\" must be a text or {\"text\": ...}");
  const Json* text = find_field(document, "text");
  if (text == nullptr) refuse("\"documents\" other than texts are not supported");
  return take_string(document, "text");
}

// Both have length 1.
double cosine(const std::vector<float>& left, const std::vector<float>& right) {
  return std::inner_product(left.begin(), left.end(), right.begin(), 0.0);
}

// The query is the first input, the documents are the others: what one has to do with the other is
// the cosine between them, from -1 to 1.
class Rerank : public EmbeddingDialect {
 public:
  EmbeddingRequest parse(std::string_view body_text, Work& work) override {
    JsonTree tree = parse_body(body_text, work);
    Json& body = *tree;
    EmbeddingRequest request;
    request.model = string_field(body, "model").value_or("");
    if (request.model.empty()) fail("model is required");
    request.extensions = parse_extensions(body);
    if (const Json* keep = find_field(body, "keep_alive")) {
      request.keep_alive = parse_keep_alive(*keep);
    }
    Json* query = find_field(body, "query");
    if (query == nullptr || !query->is_string()) fail("\"query\" is required, a text");
    Json* documents = array_field(body, "documents");
    if (documents == nullptr) documents = array_field(body, "texts");  // as TEI calls them
    if (documents == nullptr || documents->empty()) fail("\"documents\" is required, a list");
    if (documents->size() >= kMaxEmbeddingInputs) {
      fail("too many \"documents\": send at most " + std::to_string(kMaxEmbeddingInputs - 1));
    }
    request.inputs.emplace_back(take_string(body, "query"));
    for (Json& document : *documents) request.inputs.emplace_back(document_text(document));
    const auto top = int_field(body, "top_n", 1, std::numeric_limits<int64_t>::max());
    num_results_ = std::min(static_cast<uint64_t>(top.value_or(kMaxEmbeddingInputs)),
                            uint64_t{documents->size()});
    returns_documents_ = bool_field(body, "return_documents").value_or(true);
    for (const char* name :
         {"max_tokens_per_doc", "max_chunks_per_doc", "rank_fields", "truncate_prompt_tokens"}) {
      if (find_field(body, name) != nullptr) {
        refuse("field \"" + std::string(name) + "\" is not supported; leave it out");
      }
    }
    model_ = request.model;
    if (returns_documents_) {
      for (const TextOrTokens& input : request.inputs)
        texts_.push_back(std::get<std::string>(input));
    }
    return request;
  }

  std::string whole(const EmbeddingReply& reply) const override {
    const std::vector<float>& query = reply.embeddings.front();
    std::vector<std::pair<double, size_t>> ranking;  // score, number of the document
    for (size_t i = 1; i < reply.embeddings.size(); ++i) {
      ranking.emplace_back(cosine(query, reply.embeddings[i]), i - 1);
    }
    std::stable_sort(ranking.begin(), ranking.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    ranking.resize(std::min<size_t>(ranking.size(), num_results_));
    JsonList results;
    for (const auto& [score, index] : ranking) {
      JsonObject item;
      item.add("index", index);
      item.add("relevance_score", score);
      if (returns_documents_) {
        JsonObject document;
        document.add("text", texts_[index + 1]);
        item.add_json("document", document.take());
      }
      results.add_json(item.take());
    }
    JsonObject usage;
    usage.add("prompt_tokens", reply.num_prompt_tokens);
    usage.add("total_tokens", reply.num_prompt_tokens);
    JsonObject json;
    json.add("object", "list");
    json.add("model", model_);
    json.add_json("results", results.take());
    json.add_json("usage", usage.take());
    json.add_json("sluice", explain_embedding(reply));
    return json.take();
  }

 private:
  std::string model_;
  uint64_t num_results_ = 0;
  bool returns_documents_ = true;
  std::vector<std::string> texts_;  // of the query and the documents, if they go back
};

}  // namespace

std::unique_ptr<EmbeddingDialect> make_rerank() { return std::make_unique<Rerank>(); }

}  // namespace sluice::api
