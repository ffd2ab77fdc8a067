"""Parts of the nets and attentions: convolutions, norms, the halves of an attention, and hooks that wait for one."""
