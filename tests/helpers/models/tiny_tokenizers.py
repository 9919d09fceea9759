"""Small tokenizers of every model type, trained here on words that a package's vocabulary lists."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from conaclip_edge.models.teacher.packaged_towers import minilm_folder

CLIP_SPLIT = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # as CLIP splits
)
CAPTIONS = (
    "a photo of a cat",
    "Two dogs playing on the beach!",
    "grinning face with smiling eyes",
    "the flag of Brazil, waving in the wind",
    "a person's hand holding 3 red balloons",
    "hello   world",
    "un café à Zürich",
    "日本の猫",
    "🎉 party popper 🎉",
    "",
)


@functools.cache
def minilm_json() -> str:
    """The WordPiece tokenizer of all-MiniLM-L6-v2."""
    return (minilm_folder() / "tokenizer.json").read_text("utf-8")


@functools.cache
def english_words() -> list[str]:
    """Some thousand English words."""
    vocab = json.loads(minilm_json())["model"]["vocab"]
    return [word for word in vocab if word.isascii() and word.isalpha() and len(word) > 2][:6000]


@functools.cache
def clip_json(merges: int = 600) -> str:
    """A byte-level BPE built as CLIP's: 256 bytes, the same with `</w>`, one piece a merge, and two special tokens."""
    pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [byte + "</w>" for byte in alphabet]
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=512 + merges,
        initial_alphabet=alphabet,
        special_tokens=ends,  # numbered before the training, which makes it repeatable
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(english_words(), trainer)
    learned = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    pieces = alphabet + ends + [left + right for left, right in learned]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=learned, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    special = [(name, vocab[name]) for name in ("<|endoftext|>", "<|startoftext|>")]
    tokenizer.post_processor = processors.RobertaProcessing(*special, trim_offsets=False, add_prefix_space=False)
    return tokenizer.to_str()


@functools.cache
def unigram_json(special: tuple[str, ...] = ("<s>", "<pad>", "</s>", "<unk>"), begin: str = "<s>") -> str:
    """A Unigram tokenizer built as XLM-RoBERTa's (or as T5's, without `begin`)."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=list(special), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(english_words()[:3000], trainer)
    names = [begin, "</s>"] if begin else ["</s>"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A </s>".strip(), special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )
    content = json.loads(tokenizer.to_str())
    learned = [(piece, round(score, 6)) for piece, score in content["model"]["vocab"][len(special) :]]
    # The training's last bits, and with them its order, differ between runs.
    content["model"]["vocab"][len(special) :] = sorted(learned, key=lambda entry: (-entry[1], entry[0]))
    return json.dumps(content)


def write_bert_vocab(folder: Path, size: int = 400) -> None:
    """Write a `vocab.txt` of BERT's form: special tokens, letters, letters inside words, words."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,!?'-猫日本")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += ["##ing", "##s", *english_words()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(list(dict.fromkeys(pieces))[:size]) + "\n", "utf-8")
