"""What the robustness tests share: counts, commands that can be killed, mutations, and readings that are not ours."""
