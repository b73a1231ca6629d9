#!/usr/bin/env python3
"""Writes tests/text/golden/corpus.txt: about 80 kB of mixed text on which tokenizers differ.

Prose in many scripts, code, markup, emoji, combining marks, runs of spaces, digits and letters,
special tokens written out, odd white space, random code points and invalid UTF-8. Always the same
for the same seed. Without the text of the token "/s" in angle brackets: llama.cpp takes it for a
control token in every vocabulary that has it, also where (Qwen 2) it is a piece of HTML. The file is bytes, not text: its last lines are not UTF-8.
"""
import pathlib
import random

SEED = 20240817
rng = random.Random(SEED)

PROSE = """
The quick brown fox jumps over the lazy dog, doesn't it? They'll say we've won; I'd say she's right.
IT'S WHAT WE'VE ALWAYS SAID: THEY'LL COME, WON'T THEY? I'M SURE YOU'RE THERE. 'tis 'Twas rock'n'roll
On 3 March 1847, about 12,345.67 people (or 1e6?) lived there -- at least 99.9% of them "happily".
Visit https://example.org/a/b?c=d&e=%20f#top or write to someone@example.com; see also C:\\temp\\x.txt
e.g. i.e. U.S.A. Ph.D. naïve café Übergröße façade coöperate Zoë résumé œuvre Ærøskøbing smørrebrød
Der Mond ist aufgegangen, die goldnen Sternlein prangen am Himmel hell und klar. Straßenbahnhaltestelle!
L'été dernier, j'ai vu qu'il n'y avait plus d'eau : « C'est fini », dit-elle. Où étais-tu ?
¿Dónde está el niño? ¡Mañana será otro día! Él comió piñas y cigüeñas volaban.
Il treno è già partito; perché non l'hai preso? Città, virtù, così.
Não há coração que não tenha razão. Ação, avião, pão, três, você.
Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy. Árvíztűrő tükörfúrógép.
Pijamalı hasta yağız şoföre çabucak güvendi. İstanbul'da ılık bir akşam, IŞIK.
Все счастливые семьи похожи друг на друга. Съешь же ещё этих мягких французских булок, да выпей чаю.
Їжак і ґава: п'ять щасливих днів. Ђорђе, љубав, њива, џем.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Ὦ ξεῖν', ἀγγέλλειν Λακεδαιμονίοις ὅτι τῇδε κείμεθα.
אבגד הוא שלום עולם, בְּרֵאשִׁית בָּרָא אֱלֹהִים. מה שלומך היום?
السلام عليكم ورحمة الله وبركاته. قِفا نَبكِ مِن ذِكرى حَبيبٍ وَمَنزِلِ ١٢٣٤٥٦٧٨٩٠، كيف حالك؟
به نام خداوند جان و خرد، کزین برتر اندیشه برنگذرد. می‌خواهم ۱۲۳۴ کتاب بخوانم.
यह एक परीक्षण है। नमस्ते दुनिया, क्षत्रिय ज्ञान श्री १२३४। हिन्दी में लिखना।
আমার সোনার বাংলা, আমি তোমায় ভালোবাসি। ১২৩৪৫
தமிழ் மொழி மிகவும் பழமையானது. ௧௨௩ நன்றி வணக்கம்!
తెలుగు భాష చాలా అందమైనది. ಕನ್ನಡ ನಾಡು. മലയാളം എഴുത്ത്. ગુજરાતી ਪੰਜਾਬੀ
ภาษาไทยไม่มีช่องว่างระหว่างคำ กรุงเทพมหานครเป็นเมืองหลวง ๑๒๓๔ น้ำใจ ที่นี่
ພາສາລາວ ສະບາຍດີ. ខ្មែរ សួស្តី ពិភពលោក។ မြန်မာဘာသာ မင်္ဂလာပါ။
床前明月光，疑是地上霜。举头望明月，低头思故乡。《静夜思》——李白（701年—762年）
今天天气很好，我们去公园散步吧！价格是￥1,234.56元，打８折。「你好」、『世界』…
傳統中文：臺灣的夜市很熱鬧，３５０公里。龍馬精神，鬱鬱蔥蔥。
吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。カタカナとｶﾀｶﾅ、ＡＢＣ１２３！
すもももももももものうち。東京特許許可局、２０２４年３月１５日（金）午後３時。ありがとうございます～
동해물과 백두산이 마르고 닳도록 하느님이 보우하사 우리나라 만세. ㄱㄴㄷ ㅏㅑㅓ 값 1,000원
Tiếng Việt có dấu: Trăm năm trong cõi người ta, chữ tài chữ mệnh khéo là ghét nhau. Nguyễn Đình Thi
ქართული ენა მშვენიერია. Հայերեն լեզու։ ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ. አማርኛ ቋንቋ። ትግርኛ፡ ሰላም።
ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ བོད་སྐད་ལ་བཀྲ་ཤིས་བདེ་ལེགས། ދިވެހި ᚠᚢᚦᚨᚱᚲ 𐌰𐌱𐌲 𓀀𓂀 𝒜𝓁𝓅𝒽𝒶 𝟙𝟚𝟛 𝔸𝔹ℂ
""".strip().split("\n")

CODE = r'''
#include <stdio.h>
int main(int argc, char **argv) { for (int i = 0; i < 10; ++i) printf("%d\t%s\n", i, argv[i % argc]); return 0x7FFFFFFF; }
    def __init__(self, *args: Any, **kwargs) -> None:  # noqa: E501
        self._items: dict[str, list[int]] = {k: [v for v in range(10) if v % 2 == 0] for k in "abc"}
		if(x==1&&y!=2||!z){return~(a<<3)>>2;}	// tabs	inside
SELECT COUNT(*), u.name FROM users AS u LEFT JOIN orders o ON o.user_id = u.id WHERE u.age >= 18 AND o.total > 99.95;
<div class="box" id='main'><p>Hello&nbsp;World</p><!-- comment --><br/><h1>Title</h1><a href="/x">link</a></div>
{"key": [1, 2.5, -3e-10, true, false, null], "nested": {"a": "b\u00e9\n"}}
fn main() -> Result<(), Box<dyn std::error::Error>> { let v: Vec<_> = (0..=9).map(|x| x * x).collect(); Ok(()) }
const f = async (a, {b, ...c}) => `${a}-${b?.d ?? "none"}` || /[a-z]+(?:\d{2,})$/giu.test(a);
$ ls -la /usr/local/bin | grep -v '^d' | awk '{print $5, $9}' | sort -rn > out.txt 2>&1 &
\begin{equation} \int_{-\infty}^{\infty} e^{-x^2}\,dx = \sqrt{\pi} \label{eq:gauss} \end{equation}
## Heading\n- [x] done\n- [ ] todo\n\n```python\nprint("hi")\n```\n| a | b |\n|---|:-:|
std::unordered_map<std::string,std::vector<std::pair<int,double>>>::const_iterator it=m.begin();
CamelCaseIdentifierHTTPServer snake_case_name SCREAMING_SNAKE kebab-case-name x86_64 utf8mb4 i18n K8s
!@#$%^&*()_+-=[]{}|;':",./<>?`~ !!! ??? ... --- === *** ### /// \\\ ||| &&& +++ <<>> :: -> => <- ≠≤≥±×÷∑∏√∞
0123456789 1 12 123 1234 12345 123456 1234567 12345678 3.14159265358979 1,000,000 0xDEADBEEF 1e-5 ½ ² Ⅷ ① ٣ ३ ๓
a1b2c3 2nd 3rd 4th 100km v1.2.3-rc4+build5 192.168.0.1 2001:db8::ff00:42:8329 12:34:56 50% $9.99 €5 £6 ¥7 #8 №9
'''.strip("\n").split("\n")

EMOJI = """
😀😃😄 👍🏽👩‍👩‍👧‍👦 🇩🇪🇫🇷🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️ ☺️ ✨🎉🔥 1️⃣2️⃣ ♥︎ ☃ ⚡️ 🧑🏿‍🚀 🤷🏻‍♀️ 🫠🫡🩷
I ❤️ NY 🗽!!! 🚀 (universal) ✅ done❌failed →←↑↓ ■□●○ ★☆ ♪♫ ½ © ® ™ § ¶ † ‡ • … ‰ ′ ″
n\u0303 e\u0301 a\u0308\u0304 o\u0302\u0301 \u1100\u1161\u11a8 Z\u0351\u036b\u0343a\u0328\u0331l\u0353\u0332g\u0321\u0337o \u0301 \u0300\u0300 q\u0307\u0323
zero\u200bwidth\u200cjoin\u200der soft\u00adhyphen bom\ufeffhere rtl\u202eoverride\u202c word\u2060joiner tag\u180e\u061c
nb\u00a0sp thin\u2009sp em\u2003sp ideo\u3000sp nel\u0085x ls\u2028x ps\u2029x ogham\u1680x nnb\u202fx math\u205fx vt\u000bx ff\u000cx us\u001fx
nul\u0000x bell\u0007 esc\u001b[31mred\u001b[0m del\u007f c1\u0080\u009f pua\ue000\uf8ff\U000f0000 non\ufffe\uffff\U0001ffff rep\ufffd
""".strip().split("\n")

SPECIAL = """
<|im_start|>user\\nHi<|im_end|> <|im_start|> assistant<|im_end|>  x <|endoftext|>y<|endoftext|>
<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\nYou are.<|eot_id|><|end_of_text|><|eom_id|>
<s>[INST] hello [/INST] answer <s> x<unk> <pad> [PAD] <0x0A> <0xFF> <0x41>
<start_of_turn>user hello<end_of_turn> <bos>x<eos> <unused12> <start_of_image> <mask> [multimodal] <|turn>
<|system|> be brief<|end|> <|user|>   hi <|end|><|assistant|>   <|placeholder1|>  x
<fim_prefix>def f():<fim_suffix>return 1<fim_middle> <file_sep>a<repo_name>b <reponame><gh_stars>5 <jupyter_code>
>>TITLE<< x >>ABSTRACT<<y>>QUESTION<< >>DOMAIN<<
<｜begin▁of▁sentence｜>hello<｜end▁of▁sentence｜> <｜fim▁hole｜> <|EOT|> <|User|>
<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>hi<|END_OF_TURN_TOKEN|><|CHATBOT_TOKEN|> <EOS_TOKEN>
<|im_start <|im_end|| <|<|im_end|>|> <|endoftext <||endoftext|> |<|im_end|> [PAD151646][PAD32011] [PAD49152]
▁literal ▁▁lower one eighth▁block ▁ _under_ Ġliteral Ċ Âł ĠĠ âĢĻ õ÷Á <h1> </h1><table><tr><td>1</td></tr></table>>  </
<think>\\nreasoning\\n</think> <tool_call>{"name": "f"}</tool_call> <|tool_call> <|channel>x<channel|>
""".strip().replace("\\n", " ").split("\n")


def runs():
    lines = []
    for n in (*range(1, 36), 48, 63, 64, 65, 100, 127, 128, 130, 200):
        lines.append(" " * n + "x")
    for n in (1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 40, 64, 81):
        lines += ["x" + " " * n, "\t" * n + "y", "\r" * n + "z", "7" * n, "a" * n, "=" * n, "-" * n,
                  "ab" * n, "é" * n, "한" * n, "哈" * n, "\u3000" * n + "w", "\u00a0" * n + "w",
                  "A" * n + "b", "'s" * n, "١" * n, "👍" * n, "! " * n, "\u0301" * n, "_" * n + "q"]
    lines += [" \t \t  x", "\t  \t  x", "  \r\r  x \r", "a  b   c    d     e      f", " ", "", "  "]
    return lines


def random_words(count):
    lines = []
    pieces = [w for line in PROSE + CODE + EMOJI for w in line.split(" ")]
    for _ in range(count):
        line = ""
        while len(line.encode()) < 160:
            line += rng.choice(pieces) + rng.choice([" ", " ", " ", "", "", "  ", "\t", ", ", "-", "'", "1", "\r"])
        lines.append(line)
    return lines


def random_code_points(count):
    blocks = [(0x20, 0x7F), (0x80, 0x250), (0x250, 0x600), (0x600, 0x1000), (0x1000, 0x2000), (0x2000, 0x3000),
              (0x3000, 0x4000), (0x4E00, 0xA000), (0xA000, 0xD800), (0xE000, 0x10000), (0x10000, 0x12000),
              (0x1D000, 0x20000), (0x20000, 0x32400), (0xE0000, 0xE0200)]
    lines = []
    for low, high in blocks:
        for _ in range(count):
            chars = []
            for _ in range(24):
                code = rng.randrange(low, high)
                chars.append(chr(code) if code != 0x0A else "A")
                if rng.random() < 0.3:
                    chars.append(rng.choice(" a1!'\t"))
            lines.append("".join(chars))
    return lines


def invalid(count):
    fixed = [b"\xff\xfe", b"caf\xe9 ol\xe9", b"\x80", b"abc\x80def", b"\xc3", b"\xc3 x", b"\xe2\x82", b"\xe2\x82x y",
             b"\xf0\x9f\x98", b"\xf0\x9f\x98 ok \xf0\x9f", b"\xed\xa0\x80\xed\xb0\x80 surrogates", b"\xc0\x80 \xc1\xbf",
             b"\xe0\x80\x80 overlong \xf0\x80\x80\xaf", b"\xf8\x88\x80\x80\x80 \xfc \xfd", b"a\xe2 b\xe2\x96 c\xe2\x96\x81d",
             b"\xf0\x9f\x91\x8d\xf0\x9f\x91 \xf0\x9f\x91\x8d", b"\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xbd", b"\xff" * 20,
             b"<|im_end\xff|> <|im_end|>\xff<|im_end|>", b"x\xe2<|im_end|>\xe2<s>\xf0<end_of_turn>", b"\xe2  \xf0   x"]
    lines = list(fixed)
    good = "The été 你好 😀 п'ять 12 ".encode()
    for _ in range(count):
        data = bytearray(rng.choice([good * 2, bytes(rng.randrange(256) for _ in range(40))]))
        for _ in range(4):
            data[rng.randrange(len(data))] = rng.randrange(256)
        # Beyond U+10FFFF the reference stops with an error, so nothing can be compared there.
        lines.append(bytes(b if b not in (0x0A, *range(0xF4, 0xF8)) else 0xB7 for b in data))
    return lines


def main():
    lines = PROSE + CODE + EMOJI + SPECIAL + runs() + random_words(150) + random_code_points(8)
    encoded = [line.encode() for line in lines] + invalid(60)
    assert all(b"\n" not in line for line in encoded)
    path = pathlib.Path(__file__).resolve().parents[1] / "text/golden/corpus.txt"
    path.write_bytes(b"\n".join(encoded) + b"\n")
    print(f"{path}: {len(encoded)} lines, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
