from pipeline.util.markdown import markdown


def test_columns_line_up_to_the_left_or_the_right():
    assert markdown([["a", "b"], ["long", "1"]]) == "| a    |   b |\n| ---- | --: |\n| long |   1 |"
    assert markdown([["a", "b"], ["long", "1"]], left=2) == "| a    | b   |\n| ---- | --- |\n| long | 1   |"
