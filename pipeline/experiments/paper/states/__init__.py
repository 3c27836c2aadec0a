"""A pretrained quantum network on quantum states: the rows QC and QQ."""
